"""What a person can do in the wizard: each act is (facade, wizard, what the page sent) -> the next wizard.

An act that the studio refuses raises StudioError, and the wizard stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from backend.api import Facade
from studio.errors import StudioError
from ui import wizard as moves
from ui.wizard import STEPS, Wizard

Sent = Mapping[str, Any]
TYPED_NAME = "typed-rows"
UPLOADS = "uploads"  # folder of the home where Gradio puts what the browser sends


def goal(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.choose_goal(wizard, sent["goal"])


def step(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return wizard.to(int(sent["step"]))


def again(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:  # noqa: ARG001 (the shape of an act)
    return Wizard()


def model(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.choose_model(wizard, sent["name"])


def own_model(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    name = str(sent["value"]).strip()
    if not name:
        raise StudioError("model_name_empty")
    return moves.choose_model(wizard, facade.model(name).name)


def method(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.choose_method(wizard, sent["name"], facade.settings(sent["name"]))


def source(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return replace(wizard, source=sent["source"])


def dataset(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.choose_data(wizard, sent["name"], wizard.source)


def upload(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.choose_data(wizard, take_upload(facade, sent), "file")


def upload_failed(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:  # noqa: ARG001 (the shape of an act)
    refuse_upload(sent)


def take_upload(facade: Facade, sent: Sent) -> str:
    """The home's copy of a file that the page names; only one that was just uploaded is read this way."""
    file = Path(sent["path"]).resolve()
    if not file.is_relative_to((facade.home / UPLOADS).resolve()):
        raise StudioError("upload_failed", name=sent["name"], detail="it lies outside the uploads")
    try:
        return facade.save_upload(str(file))
    finally:
        file.unlink(missing_ok=True)


def refuse_upload(sent: Sent) -> NoReturn:
    """The page could not send the file."""
    raise StudioError("upload_failed", name=sent["name"], detail=sent["detail"])


def rows(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.choose_data(wizard, facade.save_rows(TYPED_NAME, sent["rows"]), "rows")


def setting(_: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    return moves.set_value(wizard, sent["key"], sent["value"])


def fit(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    method = str(sent["method"]) or None
    common = facade.settings(method) if method else ()
    return moves.apply_change(wizard, method, json.loads(sent["settings"]), common)


def start(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:  # noqa: ARG001 (the shape of an act)
    assert wizard.model  # the button stands on step 4 only
    assert wizard.dataset
    run = facade.start(wizard.model, wizard.dataset, wizard.method, wizard.settings)
    return replace(wizard, run=run).to(STEPS.index("watch"))


def pause(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    facade.pause(sent["run"])
    return wizard


def resume(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    facade.resume(sent["run"])
    return wizard


def stop(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    facade.stop(sent["run"])
    return wizard


def delete(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    facade.delete(sent["run"], known_dependents(sent))
    return replace(wizard, run=None).to(STEPS.index("how"))


ACTS: dict[str, Callable[[Facade, Wizard, Sent], Wizard]] = {
    "goal": goal,
    "step": step,
    "again": again,
    "model": model,
    "model-own": own_model,
    "method": method,
    "source": source,
    "dataset": dataset,
    "upload": upload,
    "upload-failed": upload_failed,
    "rows-save": rows,
    "set": setting,
    "fit": fit,
    "start": start,
    "pause": pause,
    "resume": resume,
    "stop": stop,
    "delete": delete,
}


def known_dependents(sent: Sent) -> tuple[str, ...]:
    """Those that the question before a deletion has named."""
    return tuple(str(sent["knowing"]).split())


def reopen(facade: Facade, query: str) -> Wizard:
    """The wizard of this address; rows that were typed and kept are in their table again."""
    wizard = moves.from_query(query)
    if not Path(wizard.dataset or "").name.startswith(TYPED_NAME):
        return wizard
    try:
        return replace(wizard, typed=tuple(facade.typed_rows(str(wizard.dataset))))
    except StudioError:  # the file is gone or broken: step 3 says so in its place
        return wizard


def apply(facade: Facade, wizard: Wizard, sent: Sent) -> Wizard:
    """Do what the page asks. Half-typed rows come with every act while their table shows: none is lost."""
    if "rows" in sent:
        wizard = replace(
            wizard, typed=tuple(r for r in sent["rows"] if r["prompt"].strip() or r["answer"].strip())
        )
    return ACTS[sent["act"]](facade, wizard, sent)
