"""The adapter lab: which adapters at which weights, the rule and its settings, what was made and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api import LIVE_STATES, Product, RunSummary
from backend.api.chat import Answer, ChatModel, Setup, Turn
from ui.fragments import message
from ui.fragments.answer import Told
from ui.fragments.answer import answer as draw_answer
from ui.fragments.format import DASH, bytes_text, loss_text, percent_text
from ui.fragments.html import classes, h, join
from ui.fragments.parts import badge, button, data_table, fold, meter, numbers, state_badge
from ui.fragments.text import Text
from ui.fragments.who import model_label
from ui.mixer import BASE, DENSITIES, HIGH, LOW, STEP, TUNED, Mixer


def head(text: Text, *, exporting: bool) -> Markup:
    """The tab's title and its two sides, of which one is open."""
    sides = (("mix", not exporting), ("export", exporting))
    return h(
        "div",
        h("h1", text("tab.merge")),
        h(
            "div",
            [
                h(
                    "button",
                    text(f"merge.side.{side}"),
                    type="button",
                    role="tab",
                    data_act="side",
                    data_side=side,
                    aria_selected="true" if open_ else "false",
                )
                for side, open_ in sides
            ],
            class_="segments",
            role="tablist",
        ),
        class_="merge-head",
    )


def form(
    text: Text,
    mixer: Mixer,
    models: Sequence[ChatModel],
    out: Sequence[tuple[str, str]],
    rules: Sequence[Mapping[str, Any]],
    settings: Markup | None,
) -> Markup:
    """Adapters with a slider each, then the rule. `out`: what can't take part, with the reason; `settings`:
    the fields of the chosen rule."""
    bases = list(dict.fromkeys(model.base for model in models))
    mine = [model for model in models if model.base == mixer.base]
    rule = next((rule for rule in rules if rule["id"] == mixer.how), rules[0])
    return h(
        "div",
        h("h2", text("mix.adapters")),
        _select(text("mix.base"), "base", [(b, model_label(text, b)) for b in bases], mixer.base)
        if len(bases) > 1
        else h("p", text("mix.of", base=model_label(text, mixer.base)), class_="quiet"),
        h(
            "div",
            [_adapter(text, mixer, model, number) for number, model in enumerate(mine)],
            [_out(text, name, why) for name, why in out],
            class_="mix-list",
        ),
        _between(text, mixer, mine)
        if mixer.between
        else join(
            h("p", text("mix.weights.help"), class_="quiet"),
            _select(text("mix.rule"), "how", [(r["id"], r["title"]) for r in rules], rule["id"]),
            h("p", rule["summary"], class_="quiet"),
            settings,
        ),
        class_="card mix-form",
    )


def _between(text: Text, mixer: Mixer, models: Sequence[ChatModel]) -> Markup:
    """What the slider of a run towards its base means, and what hearing it takes."""
    stored, in_32_bit = next(m.copied for m in models if m.copied and mixer.weight(m.name) is not None)
    takes = "mix.between.takes" if stored == in_32_bit else "mix.between.takes.either"
    return join(
        h("p", text("mix.between.help"), class_="quiet"),
        h("p", text(takes, copy_bytes=stored, in_32_bit_bytes=in_32_bit), class_="quiet") if stored else None,
    )


def _adapter(text: Text, mixer: Mixer, model: ChatModel, number: int) -> Markup:
    name, low, high = model.name, *((LOW, HIGH) if model.copied is None else (BASE, TUNED))
    weight, label = mixer.weight(name), model_label(text, name)
    shown = f"mix-weight-{number}"
    return h(
        "div",
        h(
            "label",
            h("input", type="checkbox", data_act="take", data_model=name, checked=weight is not None),
            h("span", label),
            class_="switch",
        ),
        h(
            "input",
            type="range",
            min=low,
            max=high,
            step=STEP,
            value=f"{1.0 if weight is None else weight:g}",
            disabled=weight is None,
            data_act="weight",
            data_model=name,
            data_shows=shown,
            aria_label=text("mix.weight", name=label),
        ),
        h("output", DASH if weight is None else f"{weight:g}", id=shown),
        h("p", text("mix.whole"), class_="quiet") if model.copied is not None else None,
        class_=classes("mix-adapter", weight is None and "out"),
    )


def _out(text: Text, name: str, why: str) -> Markup:
    return h(
        "div",
        h(
            "label",
            h("input", type="checkbox", disabled=True),
            h("span", model_label(text, name)),
            class_="switch",
        ),
        h("p", why, class_="quiet"),
        class_="mix-out",
    )


def _select(label: str, act: str, options: Sequence[tuple[str, str]], chosen: str) -> Markup:
    return h(
        "label",
        h("span", label),
        h(
            "span",
            h("select", [h("option", t, value=v, selected=v == chosen) for v, t in options], data_act=act),
            class_="select",
        ),
        class_="field",
    )


def ask(text: Text, mixer: Mixer) -> Markup:
    """The question that every mix is asked. It stays in its box: the sliders are what changes."""
    return h(
        "div",
        h("h2", text("mix.try")),
        h("p", text("mix.try.help"), class_="quiet"),
        h(
            "div",
            h(
                "input",
                type="text",
                value=mixer.prompt,
                placeholder=text("chat.placeholder"),
                aria_label=text("chat.prompt"),
                data_act="ask",
                autocomplete="off",
            ),
            button(text("mix.ask"), "again", symbol="send"),
            class_="line mix-ask",
        ),
    )


def answer(text: Text, model: str, prompt: str, said: Answer, told: Told) -> Markup:
    """What the mix says so far, or why it can't."""
    if said.error is not None:
        return message.card("bad", *told(said.error))
    turn = Turn(0, 0, None, prompt, Setup((model,)), (said,))
    return h("div", draw_answer(text, turn, 0, None, told, compact=True), class_="answers one")


def no_answer(text: Text, why: str = "mix.ask.first") -> Markup:
    """While there is nothing to answer; `why` is the key of the words that say so."""
    return h("p", text(why), class_="quiet mix-silent")


def actions(text: Text, mixer: Mixer) -> Markup:
    """What can be made of the mix."""
    off = not mixer.weights
    if mixer.between:
        return h(
            "div",
            h(
                "div",
                button(text("mix.into"), "into", kind="primary", symbol="done", data_busy=""),
                button(text("mix.measure"), "measure", data_busy=""),
                class_="line actions",
            ),
            h("p", text("mix.between.actions"), class_="quiet"),
            class_="card mix-actions",
        )
    stored = [("", text("mix.store.whole"))]
    stored += [(f"{d:g}", text("mix.store.compressed", share=percent_text(d))) for d in DENSITIES]
    chosen = "" if mixer.density is None else f"{mixer.density:g}"
    return h(
        "div",
        h(
            "div",
            button(text("mix.save"), "save", kind="primary", symbol="done", disabled=off, data_busy=""),
            button(text("mix.into"), "into", disabled=off, data_busy=""),
            button(text("mix.measure"), "measure", disabled=off, data_busy=""),
            class_="line actions",
        ),
        h("p", text("mix.actions.help"), class_="quiet"),
        fold(
            text("mix.more"),
            _select(text("mix.store"), "density", stored, chosen),
            _exact(text, mixer) if mixer.may_be_exact else None,
        ),
        class_="card mix-actions",
    )


def _exact(text: Text, mixer: Mixer) -> Markup:
    return join(
        h(
            "label",
            h("input", type="checkbox", data_act="exact", checked=mixer.exact),
            h("span", text("mix.exact")),
            class_="switch",
        ),
        h("p", text("mix.exact.help"), class_="quiet"),
    )


def job(text: Text, run: RunSummary, product: Product, error: tuple[str, str] | None) -> Markup:
    """A merge or a measurement: how far it is, then what came of it."""
    live = run.state in LIVE_STATES or run.state == "queued"
    doing = text(f"phase.{run.phase}") if run.phase and live else None
    return h(
        "div",
        h(
            "div",
            h("h2", text(f"mix.job.{run.kind}")),
            state_badge(text, run),
            h("span", doing, class_="quiet") if doing else None,
            h("span", class_="grow"),
            button(text("run.stop"), "stop", kind="quiet", symbol="stop", data_run=run.run) if live else None,
            class_="line",
        ),
        meter(run.progress, doing or run.run) if live else None,
        message.card("bad", *error) if error else _found(text, product) if run.state == "done" else None,
        class_="card mix-job",
    )


def _found(text: Text, product: Product) -> Markup:
    facts = product.facts
    if "losses" in facts:
        return losses(text, facts["losses"])
    return join(
        _adapter_facts(text, facts) if "rank" in facts else _verified(text, facts),
        h("p", h("code", product.path), class_="quiet"),
        h("p", text("mix.made", name=model_label(text, f"merge:{product.run}")), class_="quiet"),
    )


def _adapter_facts(text: Text, facts: Mapping[str, Any]) -> Markup:
    """Rank, what the cut to it lost, and how large it is."""
    shown: list[tuple[str, object, str | None]] = [
        (text("mix.rank"), facts["rank"], None),
        (text("mix.error"), percent_text(facts["error"]), text("mix.error.help")),
        (
            text("mix.size"),
            bytes_text(facts["size_bytes"]),
            text("mix.size.of", input_bytes=facts["input_bytes"]),
        ),
    ]
    if facts.get("compression_error") is not None:
        lost = percent_text(facts["compression_error"])
        shown.insert(2, (text("mix.compression"), lost, text("mix.compression.help")))
    return numbers(shown)


def _verified(text: Text, facts: Mapping[str, Any]) -> Markup:
    """Whether the written weights compute what they should, with the figures."""
    found, ways = facts["verified"], facts.get("ways")
    passed = found["passed"]
    return join(
        h(
            "p",
            badge(
                "good" if passed else "bad",
                "done" if passed else "bad",
                text(f"mix.verified.{passed}".lower()),
            ),
            class_="line",
        ),
        h("p", text("mix.verified.line", prompts=facts["prompts"], **_figures(found))),
        h("p", text("mix.ways", **_figures(ways)), class_="quiet") if ways else None,
    )


def _figures(agreement: Mapping[str, Any]) -> dict[str, str]:
    names = ("max_difference", "mean_difference", "largest", "bound")
    return {name: DASH if agreement[name] is None else f"{agreement[name]:.2g}" for name in names}


def losses(text: Text, measured: Sequence[Mapping[str, Any]]) -> Markup:
    """A line per run with held-out rows, a column per who answers; the best of a line is bold."""
    columns = list(measured[0]["losses"])
    titles = {"base": text("mix.loss.base"), "mix": text("mix.loss.mix")}
    head = [text("mix.loss.of"), *(titles.get(name) or model_label(text, name) for name in columns)]
    lines = []
    for each in measured:
        best = min(each["losses"].values())
        cells = [each["losses"][name] for name in columns]
        label = text("mix.loss.rows", name=model_label(text, each["of"]), rows=each["rows"])
        lines.append([label, *(h("strong", loss_text(c)) if c == best else loss_text(c) for c in cells)])
    return join(data_table(text("mix.losses"), head, lines), h("p", text("mix.loss.help"), class_="quiet"))
