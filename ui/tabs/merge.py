"""Merge & export. The mixer: adapters of one base mixed by sliders, heard at once, saved or merged into the
base; beside it, one at a time, the exports (`ui.tabs.export`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.api.chat import Answer, ChatRequest, Pane, Sampling
from studio.errors import StudioError
from ui import exporting, forms, mixer
from ui.exporting import Exporting
from ui.fragments import merge as draw
from ui.fragments import message
from ui.fragments.parts import button
from ui.fragments.wizard import address
from ui.live import follow
from ui.mixer import Mixer
from ui.page import Page, Updates
from ui.steps import run_error
from ui.tabs import export
from ui.tabs.chat_panel import REDRAW_SECONDS
from ui.view import HIDDEN, act_data, view

NAME = "merge"
_SAMPLING = Sampling(max_tokens=128)


@dataclass
class Newest:
    """The one thing that changes under a running answer. Gradio's `cancels=` comes too late: it ends what
    runs after the act was answered, and that may be the answer to the act."""

    question: int = 0


@dataclass(frozen=True)
class Merge:
    """Components of the tab. `asked` counts the questions: each count is answered once, the last one wins;
    `newest` is the count that a page's answers look at, so that an older one ends."""

    head: gr.HTML
    mix: gr.Row
    board: gr.Column
    form: gr.HTML
    ask: gr.HTML
    answer: gr.HTML
    actions: gr.HTML
    jobs: gr.HTML
    address: gr.HTML
    state: gr.State
    asked: gr.State
    newest: gr.State
    exports: export.ExportPanel


def build() -> Merge:
    with gr.Column(elem_id="merge", elem_classes="tab-body"):
        head = view(id="merge-head")
        with gr.Row(elem_id="mix") as mix:
            with gr.Column(elem_classes="mix-left"):
                form = view(id="mix-form")
            with gr.Column(elem_classes="mix-right", visible=False) as board:
                with gr.Column(elem_classes="card mix-chat"):
                    ask = view(id="mix-ask")
                    answer = view(id="mix-answer")
                actions = view(id="mix-actions")
                jobs = view(id="mix-jobs")
        where = view(classes="unseen")
        exports = export.build(where)
    return Merge(
        head=head,
        mix=mix,
        board=board,
        form=form,
        ask=ask,
        answer=answer,
        actions=actions,
        jobs=jobs,
        address=where,
        state=gr.State(Mixer()),
        asked=gr.State(0),
        newest=gr.State(Newest()),
        exports=exports,
    )


def wire(tab: Merge, page: Page) -> None:
    tab.head.value = draw.head(page.text, exporting=False)
    tab.form.value = message.loading(page.text)
    export.wire(tab.exports, page, NAME)
    # Said once: the tab may be drawn again while an answer comes.
    tab.answer.value = draw.no_answer(page.text)
    _wire_hearing(tab, page)

    def make(state: Mixer, event: gr.EventData) -> Updates:
        state = MAKING[act_data(event)["act"]](page, state, act_data(event))
        return {
            tab.state: state,
            tab.actions: draw.actions(page.text, state),
            tab.jobs: _jobs(page, state),
            tab.address: address(mixer.to_query(state, NAME)),
        }

    def turn(state: Mixer, leaving: Exporting, event: gr.EventData) -> Updates:
        there = act_data(event)["side"] == "export"
        return opened(tab, page, exporting.to_query(leaving, NAME) if there else mixer.to_query(state, NAME))

    everything = [*outputs(tab), page.notice]
    for source in (tab.actions, tab.jobs):
        source.act(page.handler(make), inputs=[tab.state], outputs=everything, **HIDDEN)
    tab.head.act(page.handler(turn), inputs=[tab.state, tab.exports.state], outputs=everything, **HIDDEN)

    def moved(_full: bool, state: Mixer, leaving: Exporting) -> Updates:
        # Opening the exports draws them; until then nobody sees them.
        exports = export.moving(tab.exports, page, leaving) if leaving.model else {}
        return {tab.jobs: _jobs(page, state)} | exports

    follow(
        page,
        NAME,
        moved,
        [tab.state, tab.exports.state],
        [tab.jobs, tab.exports.jobs, page.notice],
    )


def _wire_hearing(tab: Merge, page: Page) -> None:
    """What is mixed is heard at once; a newer question ends the answer to an older one."""

    def act(state: Mixer, asked: int, newest: Newest, event: gr.EventData) -> Updates:
        sent = act_data(event)
        state = ACTS[sent["act"]](page, state, sent)
        newest.question = asked + 1
        # A slider keeps its place and the keyboard its slider: what the person holds is not drawn anew.
        drawn = {} if sent["act"] in ("weight", "ask", "again") else {tab.form: _form(page, state)}
        return {
            **drawn,
            tab.state: state,
            tab.asked: asked + 1,
            tab.actions: draw.actions(page.text, state),
            tab.address: address(mixer.to_query(state, NAME)),
        }

    def answer(state: Mixer, asked: int, newest: Newest) -> Iterator[Updates]:
        for drawn in answered(page, state):
            if newest.question != asked:
                return
            yield {tab.answer: drawn}

    tab.asked.change(
        page.handler(answer),
        inputs=[tab.state, tab.asked, tab.newest],
        outputs=[tab.answer, page.notice],
        trigger_mode="multiple",
        **HIDDEN,
    )
    for source in (tab.form, tab.ask):
        source.act(
            page.handler(act),
            inputs=[tab.state, tab.asked, tab.newest],
            outputs=[*outputs(tab), page.notice],
            **HIDDEN,
        )


def outputs(tab: Merge) -> list[Any]:
    return [
        *export.outputs(tab.exports),
        tab.head,
        tab.mix,
        tab.board,
        tab.form,
        tab.ask,
        tab.answer,
        tab.actions,
        tab.jobs,
        tab.state,
        tab.asked,
    ]


def opened(tab: Merge, page: Page, query: str) -> Updates:
    """The tab at this address: the exports where it says `export`, else the mixer."""
    leaving = exporting.is_here(query)
    return {
        tab.head: draw.head(page.text, exporting=leaving),
        tab.mix: gr.Row(visible=not leaving),
        tab.exports.board: gr.Row(visible=leaving),
        **(export.opened(tab.exports, page, query, NAME) if leaving else _mixer(tab, page, query)),
    }


def _mixer(tab: Merge, page: Page, query: str) -> Updates:
    """The mixer at this address: `mix=mix:{...}`, the question `ask`, the last jobs."""
    models = page.facade.mixable()
    if not models:
        nothing = {tab.form: _nothing(page), tab.board: gr.Column(visible=False)}
        return nothing | {tab.address: address(mixer.to_query(Mixer(), NAME))}
    state = mixer.from_query(query, models)
    if not state.prompt:
        state = replace(state, prompt=page.text(mixer.PROMPT))
    page.facade.warm_chat(models[0].name)
    return {
        tab.board: gr.Column(visible=True),
        tab.form: _form(page, state),
        tab.ask: draw.ask(page.text, state),
        tab.actions: draw.actions(page.text, state),
        tab.jobs: _jobs(page, state),
        tab.address: address(mixer.to_query(state, NAME)),
        tab.state: state,
    }


def answered(page: Page, state: Mixer) -> Iterator[Markup]:
    """The answer of the mix as it comes, or why there is none."""
    model = state.model
    if model is None or not state.prompt:
        yield draw.no_answer(page.text, "mix.none" if model is None else "mix.ask.first")
        return

    def drawn_as(said: Answer) -> Markup:
        def told(error: Mapping[str, Any]) -> tuple[str, str]:
            return page.words.error(StudioError.from_dict(error))

        return draw.answer(page.text, model, state.prompt, said, told)

    said = Answer()
    yield drawn_as(said)
    drawn = monotonic()
    pane = Pane(model, [{"role": "user", "content": state.prompt}])
    try:
        for delta in page.facade.chat(ChatRequest((pane,), _SAMPLING)):
            said = said.plus(delta)
            if monotonic() - drawn > REDRAW_SECONDS:
                yield drawn_as(said)
                drawn = monotonic()
    except StudioError as refused:
        said = replace(said, error=refused.as_dict())
    yield drawn_as(said.ended())


def _form(page: Page, state: Mixer) -> Markup:
    rules = page.facade.merges()
    rule = next((rule for rule in rules if rule["id"] == state.how), rules[0])
    fields = forms.of_params(rule["params"], state.settings)
    settings = forms.grid(page.text, fields) if fields else None
    out = [
        (other.name, page.words.error(StudioError.from_dict(other.error))[0])
        for other in page.facade.unmixable()
        if other.base == state.base
    ]
    return draw.form(page.text, state, page.facade.mixable(), out, rules, settings)


def _jobs(page: Page, state: Mixer) -> Markup:
    facade = page.facade
    there = {run.run: run for run in facade.runs("all")} if state.jobs else {}
    shown = [
        draw.job(page.text, there[id], facade.product(id), run_error(page, there[id].error))
        for id in state.jobs
        if id in there
    ]
    return Markup("").join(shown)


def _nothing(page: Page) -> Markup:
    return message.empty(
        page.text("mix.empty.title"),
        page.text("mix.empty.line"),
        button(page.text("runs.empty.button"), None, kind="primary", data_go="home"),
        symbol="merge",
    )


def _measure(page: Page, state: Mixer, _sent: Mapping[str, Any]) -> Mixer:
    model = state.model
    assert model is not None  # the button is off without adapters
    return mixer.started(state, page.facade.mix_losses(model))


def _stop(page: Page, state: Mixer, sent: Mapping[str, Any]) -> Mixer:
    page.facade.stop(sent["run"])
    return state


Act = Callable[[Page, Mixer, Mapping[str, Any]], Mixer]
ACTS: Mapping[str, Act] = {
    "base": lambda page, state, sent: mixer.choose_base(state, sent["value"], page.facade.mixable()),
    "take": lambda _, state, sent: mixer.take(state, sent["model"], bool(sent["value"])),
    "weight": lambda _, state, sent: mixer.weigh(state, sent["model"], sent["value"]),
    "how": lambda _, state, sent: mixer.choose_rule(state, sent["value"]),
    "set": lambda _, state, sent: mixer.set_param(state, sent["key"], str(sent["value"]).strip()),
    "ask": lambda _, state, sent: replace(state, prompt=str(sent["value"]).strip()),
    "again": lambda _, state, _sent: state,
}
MAKING: Mapping[str, Act] = {
    "save": lambda page, state, _: mixer.started(state, page.facade.merge(mixer.save_request(state))),
    "into": lambda page, state, _: mixer.started(state, page.facade.merge(mixer.base_request(state))),
    "measure": _measure,
    "stop": _stop,
    "density": lambda _, state, sent: replace(state, density=float(sent["value"]) if sent["value"] else None),
    "exact": lambda _, state, sent: replace(state, exact=bool(sent["value"])),
}
