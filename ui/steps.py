"""What the wizard shows at each step: asks the facade, draws with the fragments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradio.components.plot import PlotData
from markupsafe import Markup

from backend.api import LIVE_STATES, Draft, ModelInfo, PreviewRow
from studio.errors import StudioError
from ui import charts, forms
from ui.fragments import data, goal, how, model, plan, run
from ui.fragments.wizard import address, foot, stepper
from ui.page import Page
from ui.wizard import METHOD, STEPS, Wizard, to_query

PREVIEW_ROWS = 4
SPARK_POINTS = 60


@dataclass(frozen=True)
class Shown:
    """The HTML of the wizard's parts. `step` is None where the step has no view of its own (the chat)."""

    steps: Markup
    step: Markup | None
    aside: Markup
    foot: Markup
    address: Markup


def show(page: Page, wizard: Wizard) -> Shown:
    """Everything around and inside the current step."""
    chosen = _model(page, wizard.model)
    draft = _draft(page, wizard)
    text = page.text
    if wizard == Wizard():  # Home, before the wizard has begun
        return Shown(Markup(""), _goal(page, wizard), Markup(""), Markup(""), address(to_query(wizard)))
    return Shown(
        stepper(text, wizard),
        _STEPS[wizard.name](page, wizard, chosen, draft) if wizard.name in _STEPS else None,
        plan.aside(
            text, plan.Sketch(wizard.goal, chosen, wizard.dataset, _method(page, wizard)["title"], draft)
        ),
        foot(text, wizard, ready(page, wizard, draft), draft),
        address(to_query(wizard)),
    )


def moving(page: Page, wizard: Wizard) -> tuple[Markup, Markup]:
    """Step and foot of a step that follows the store: goal or watch. Neither needs the plan, which costs."""
    return _STEPS[wizard.name](page, wizard), foot(page.text, wizard, ready(page, wizard, None))


def first_paint(page: Page) -> Markup:
    """Home as it is when the screen starts; a page that loads later draws it anew, in the same places."""
    return _goal(page, Wizard())


def ready(page: Page, wizard: Wizard, draft: Draft | None) -> bool:
    """Whether Next may be pressed."""
    if wizard.name == "how":
        return draft is not None and not draft.problems
    if wizard.name == "data" and draft is not None and any(p["key"] == "dataset" for p in draft.problems):
        return False
    if wizard.name == "watch":
        return wizard.run is not None and page.facade.run(wizard.run).summary.adapter is not None
    return wizard.reachable(wizard.step + 1)


def _model(page: Page, name: str | None) -> ModelInfo | None:
    if name is None:
        return None
    listed = next((m for m in page.facade.models() if m.name == name), None)
    if listed is not None:
        return listed
    try:
        return page.facade.model(name)
    except StudioError:  # it was there when it was chosen; step 2 shows the list to choose again
        return None


def _method(page: Page, wizard: Wizard) -> dict[str, Any]:
    """The wizard's method; for one that there is not (an address by hand) the usual: the draft says so."""
    listed = {m["id"]: m for m in page.facade.methods()}
    return listed.get(wizard.method, listed[METHOD])


def _draft(page: Page, wizard: Wizard) -> Draft | None:
    if wizard.model is None or wizard.dataset is None:
        return None
    try:
        return page.facade.draft(wizard.model, wizard.dataset, wizard.method, wizard.settings)
    except StudioError:  # rows or model that can't be read: step 3 says so in their place
        return None


def _goal(page: Page, wizard: Wizard, *_: object) -> Markup:
    runs = page.facade.runs()
    shown = [r.run for r in runs if r.state in LIVE_STATES][:1] + [r.run for r in runs if r.adapter][:1]
    curves = (
        {s.run: s.values for s in page.facade.series(shown, ["loss"], max_points=SPARK_POINTS)}
        if shown
        else {}
    )
    return goal.view(page.text, wizard.goal, page.facade.hardware(), page.facade.models(), runs, curves)


def _models(page: Page, _: Wizard, chosen: ModelInfo | None, __: Draft | None) -> Markup:
    return model.view(page.text, page.facade.models(), chosen)


def _data(page: Page, wizard: Wizard, *_: object) -> Markup:
    found = None
    if wizard.dataset is not None:
        assert wizard.model is not None  # step 3 stands on step 2
        try:
            report = page.facade.check(wizard.dataset, wizard.model)
            rows = _preview(page, wizard.dataset, wizard.model)
            found = data.found(page.words, report, rows, plan.dataset_title(wizard.dataset))
        except StudioError as error:
            found = data.broken(*page.words.error(error))
    samples = page.facade.samples()
    return data.view(page.text, wizard.source, wizard.goal, samples, wizard.dataset, wizard.typed, found)


def _preview(page: Page, dataset: str, model: str) -> list[PreviewRow]:
    try:
        return page.facade.preview(dataset, model, rows=PREVIEW_ROWS)
    except StudioError as error:
        if error.code == "model_not_on_disk":  # its tokenizer comes with it, when the run fetches it
            return []
        raise


def _how(page: Page, wizard: Wizard, _: ModelInfo | None, draft: Draft | None) -> Markup:
    if draft is None:
        return data.broken(page.text("how.none.message"), page.text("how.none.remedy"))
    page.facade.warm_worker(draft)
    shown = forms.fields(
        page.words, page.facade.settings(wizard.method), _method(page, wizard), draft, wizard.settings
    )
    return how.view(page.words, draft, shown, page.facade.methods(), wizard.method)


def _watch(page: Page, wizard: Wizard, *_: object) -> Markup:
    assert wizard.run is not None  # step 5 stands on a started run
    detail = page.facade.run(wizard.run)
    return run.watch(page.text, detail, run_error(page, detail.summary.error))


def run_error(page: Page, error: object) -> tuple[str, str] | None:
    """Cause and remedy of a failed run."""
    if not isinstance(error, dict):
        return None
    if error["code"] == "bug":
        facts = error["facts"]
        return page.text("run.bug.message"), page.text("run.bug.remedy", log=facts.get("log", ""))
    return page.words.error(StudioError.from_dict(error))


def curve(page: Page, run_id: str) -> PlotData:
    """The live chart of step 5."""
    return charts.loss_chart(page.text, page.facade.series([run_id], ["loss", "eval_loss"]))


_STEPS: dict[str, Callable[..., Markup]] = {
    "goal": _goal,
    "model": _models,
    "data": _data,
    "how": _how,
    "watch": _watch,
}
assert set(_STEPS) <= set(STEPS)
