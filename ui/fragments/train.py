"""The expert's form: four folds at the left, at the right what it comes to and the one button."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from backend.api import Draft, ModelInfo, SampleInfo
from ui.forms import Field, grid
from ui.fragments import memory, message, plan
from ui.fragments.format import bytes_text
from ui.fragments.html import h, join
from ui.fragments.parts import fits_badge, fold, heading
from ui.fragments.text import Text
from ui.fragments.wizard import start
from ui.wizard import Wizard
from ui.words import Words


def form(
    text: Text,
    choice: Wizard,
    models: Sequence[ModelInfo],
    model: ModelInfo | None,
    samples: Sequence[SampleInfo],
    methods: Sequence[dict[str, object]],
    fields: Sequence[Field],
) -> Markup:
    """Model, data, method, schedule; what differs from the default is bold."""
    own = [f for f in fields if f.space == "method"]
    common = [f for f in fields if f.space == "plan" and not f.expert]
    expert = [f for f in fields if f.space == "plan" and f.expert]
    return join(
        heading(text("train.title"), text("train.lead"), large=True),
        fold(text("train.model"), _model(text, choice, models, model), open_=True),
        fold(text("train.data"), _data(text, choice, samples), open_=True),
        fold(text("train.method"), _method(text, choice, methods), grid(text, own), open_=True),
        fold(
            text("train.schedule"),
            grid(text, common),
            fold(text("how.expert", count=len(expert)), grid(text, expert), open_=_touched(expert)),
            open_=True,
        ),
    )


def _touched(fields: Sequence[Field]) -> bool:
    return any(f.given not in (None, "") or f.problem for f in fields)


def _named(text: Text, key: str, value: str, options: Sequence[tuple[str, str]], below: object) -> Markup:
    """A name typed or picked from a list."""
    return h(
        "div",
        h("div", h("label", text(f"train.{key}.label"), for_=f"train-{key}"), class_="label"),
        h(
            "input",
            type="text",
            id=f"train-{key}",
            value=value,
            list=f"train-{key}-list",
            data_act=key,
            autocomplete="off",
            spellcheck="false",
            placeholder=text(f"train.{key}.placeholder"),
        ),
        h("datalist", [h("option", title, value=name) for name, title in options], id=f"train-{key}-list"),
        h("p", below, class_="help"),
        class_="field",
    )


def _model(text: Text, choice: Wizard, models: Sequence[ModelInfo], model: ModelInfo | None) -> Markup:
    below: object = text("train.model.help")
    if model is not None:
        below = join(
            fits_badge(text, model.fits, model.with_method),
            " ",
            model.title,
            " · ",
            bytes_text(model.size_bytes),
            " · ",
            model.licence or text("model.no_licence"),
        )
    return _named(text, "model", choice.model or "", [(m.name, m.title) for m in models], below)


def _data(text: Text, choice: Wizard, samples: Sequence[SampleInfo]) -> Markup:
    options = [(s.name, s.title) for s in samples]
    return _named(text, "dataset", choice.dataset or "", options, text("train.data.help"))


def _method(text: Text, choice: Wizard, methods: Sequence[dict[str, object]]) -> Markup:
    chosen = next(m for m in methods if m["id"] == choice.method)
    return h(
        "div",
        h("label", text("train.method.label"), for_="train-method", class_="label"),
        h(
            "span",
            h(
                "select",
                [
                    h("option", _title(text, m), value=m["id"], selected=m["id"] == choice.method)
                    for m in methods
                ],
                id="train-method",
                data_act="method",
            ),
            class_="select",
        ),
        h("p", chosen["summary"], class_="help"),
        class_="field",
    )


def _title(text: Text, method: Mapping[str, object]) -> object:
    return text("train.method.unable", title=method["title"]) if method["unable"] else method["title"]


def side(
    words: Words,
    choice: Wizard,
    model: ModelInfo | None,
    titles: Mapping[str, str],
    draft: Draft | None,
    refusal: tuple[str, str] | None,
) -> Markup:
    """The plan in words, memory against what is free, what is wrong, the button, the command line. `titles`
    of all methods."""
    text = words.text
    method = titles.get(choice.method)
    sketch = plan.Sketch(None, model, choice.dataset, method, draft)
    needs = join(memory.panel(words, draft, titles), memory.make_fit(words, draft))
    if draft is not None and draft.problems:
        needs = h("div", h("p", text("memory.before_wrong"), class_="quiet"), needs, class_="outdated")
    return join(
        plan.aside(text, sketch),
        needs,
        message.card("bad", *refusal) if refusal else None,
        plan.problem_list(words, draft) if draft else None,
        start(text, draft, draft is not None and not draft.problems, "wide"),
        plan.command(text, draft.command) if draft else None,
    )
