"""The exports: a part of the tab Merge & export. One model at a time leaves in one format; all exports stay
in the list, so that a page that comes back finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.api import ExportRequest, ExportRoom
from studio.errors import PlanError, StudioError
from ui import exporting, forms
from ui.acts import known_dependents
from ui.exporting import Exporting
from ui.fragments import export as draw
from ui.fragments import wizard
from ui.page import Page, Updates
from ui.steps import run_error
from ui.view import HIDDEN, act_data, view


@dataclass(frozen=True)
class ExportPanel:
    """Components of the part. What is typed into stands apart from what a choice draws anew."""

    board: gr.Row
    form: gr.HTML
    send: gr.HTML
    jobs: gr.HTML
    address: gr.HTML
    state: gr.State


def build(address: gr.HTML) -> ExportPanel:
    """`address`: the tab's, which has one."""
    with gr.Row(elem_id="export", visible=False) as board:
        with gr.Column(elem_classes="card export-choice"):
            form = view(id="export-form")
            send = view(id="export-send")
        jobs = view(id="export-jobs")
    return ExportPanel(board, form, send, jobs, address, gr.State(Exporting()))


def wire(panel: ExportPanel, page: Page, tab: str) -> None:
    def choose(state: Exporting, event: gr.EventData) -> Updates:
        state = CHOICES[act_data(event)["act"]](state, act_data(event))
        return _chosen(panel, page, state, tab)

    def act(state: Exporting, event: gr.EventData) -> Updates:
        sent = act_data(event)
        state = ACTS[sent["act"]](page, state, sent)
        started = {panel.send: draw.send(page.text, state)} if sent["act"] == "export" else {}
        return {**started, panel.state: state, **moving(panel, page, state), panel.address: _at(state, tab)}

    everything = [*outputs(panel), page.notice]
    panel.form.act(page.handler(choose), inputs=[panel.state], outputs=everything, **HIDDEN)
    for source in (panel.send, panel.jobs):
        source.act(page.handler(act), inputs=[panel.state], outputs=everything, **HIDDEN)


def outputs(panel: ExportPanel) -> list[Any]:
    return [panel.board, panel.form, panel.send, panel.jobs, panel.address, panel.state]


def opened(panel: ExportPanel, page: Page, query: str, tab: str) -> Updates:
    """The part at this address: `export=MODEL`, `format`, and the `job` that is looked at."""
    formats = {format["id"]: [info["name"] for info in format["params"]] for format in page.facade.exports()}
    state = exporting.from_query(query, page.facade.chat_models(), formats)
    return {
        panel.send: draw.send(page.text, state),
        **moving(panel, page, state),
        **_chosen(panel, page, state, tab),
    }


def moving(panel: ExportPanel, page: Page, state: Exporting) -> Updates:
    """What follows the store."""
    return {panel.jobs: _jobs(page, state)}


def _chosen(panel: ExportPanel, page: Page, state: Exporting, tab: str) -> Updates:
    asked = {format["id"]: _room(page, state, format["id"]) for format in page.facade.exports()}
    rooms = {id: room for id, room in asked.items() if room is not None}
    formats = [format for format in page.facade.exports() if format["id"] in rooms]
    if not isinstance(rooms.get(state.format), ExportRoom):  # not for this model: the first that is
        fitting = next((id for id, room in rooms.items() if isinstance(room, ExportRoom)), state.format)
        state = exporting.choose_format(state, fitting)
    format = next(format for format in formats if format["id"] == state.format)
    problems: dict[str, str] = {}
    if state.settings and not isinstance(rooms[state.format], tuple):
        try:
            rooms[state.format] = page.facade.export_room(exporting.request(state))
        except PlanError as wrong:  # the format stays, and the field says it
            problems = {problem["key"]: " ".join(page.words.problem(problem)) for problem in wrong}
    room = rooms[state.format]
    idle = room.idle if isinstance(room, ExportRoom) else ()
    infos = [info for info in format["params"] if info["name"] not in idle]
    fields = forms.of_params(infos, state.settings, problems)
    settings = forms.grid(page.text, fields) if fields else None
    return {
        panel.state: state,
        panel.form: draw.form(page.text, state, page.facade.chat_models(), formats, rooms, settings),
        panel.address: _at(state, tab),
    }


def _room(page: Page, state: Exporting, format: str) -> ExportRoom | draw.Refused | None:
    """As the format usually is: whether a model can become one has nothing to do with its settings. None:
    it is not spoken of, as the compact form of what was never made compact."""
    try:
        return page.facade.export_room(ExportRequest(state.model, format))
    except StudioError as refused:
        return None if refused.code == "export_not_compact" else page.words.error(refused)


def _at(state: Exporting, tab: str) -> Markup:
    return wizard.address(exporting.to_query(state, tab))


def _jobs(page: Page, state: Exporting) -> Markup:
    ids = [job.run for job in page.facade.runs("export")]
    looked_at = state.job if state.job in ids else next(iter(ids), None)
    others = [id for id in ids if id != looked_at]
    shown = [(page.facade.run(id), page.facade.product(id)) for id in others[: state.listed]]
    more = max(0, len(others) - state.listed)
    return draw.jobs(page.text, _job(page, looked_at) if looked_at else None, shown, more)


def _job(page: Page, id: str) -> Markup:
    detail, product = page.facade.run(id), page.facade.product(id)
    refused = product.facts.get("upload_error")
    upload_error = page.words.error(StudioError.from_dict(refused)) if refused else None
    return draw.job(page.text, detail, product, run_error(page, detail.summary.error), upload_error)


def _start(page: Page, state: Exporting, sent: Mapping[str, Any]) -> Exporting:
    """Each export is uploaded only if that was asked for anew."""
    asked = replace(state, upload=str(sent["upload"]).strip(), public=bool(sent["public"]))
    return replace(state, job=page.facade.export(exporting.request(asked)))


def _stop(page: Page, state: Exporting, sent: Mapping[str, Any]) -> Exporting:
    page.facade.stop(sent["run"])
    return state


def _resume(page: Page, state: Exporting, sent: Mapping[str, Any]) -> Exporting:
    page.facade.resume(sent["run"])
    return state


def _drop(page: Page, state: Exporting, sent: Mapping[str, Any]) -> Exporting:
    page.facade.delete(sent["run"])
    return replace(state, job="")


def _remove(page: Page, state: Exporting, sent: Mapping[str, Any]) -> Exporting:
    """As on the Models tab."""
    gone = page.facade.remove(sent["name"], known_dependents(sent))
    return replace(state, job="") if gone.made_by == state.job else state


CHOICES: Mapping[str, Callable[[Exporting, Mapping[str, Any]], Exporting]] = {
    "model": lambda state, sent: replace(state, model=sent["value"]),
    "format": lambda state, sent: exporting.choose_format(state, sent["format"]),
    "set": lambda state, sent: exporting.set_param(state, sent["key"], str(sent["value"]).strip()),
}
ACTS: Mapping[str, Callable[[Page, Exporting, Mapping[str, Any]], Exporting]] = {
    "export": _start,
    "stop": _stop,
    "resume": _resume,
    "drop": _drop,
    "remove": _remove,
    "more": lambda _, state, _sent: replace(state, listed=state.listed + exporting.LISTED),
    "look": lambda _, state, sent: replace(state, job=sent["run"]),
}
