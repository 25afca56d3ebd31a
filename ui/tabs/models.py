"""Models: what is on the disk and what it takes, downloads, the catalogue, folders of the person's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.api import LIVE_STATES, ModelInfo, RunSummary
from studio.errors import StudioError
from studio.names import parse
from ui import catalogue
from ui.acts import known_dependents
from ui.fragments import library as draw
from ui.fragments import message
from ui.live import follow
from ui.page import Page, Updates
from ui.steps import run_error
from ui.view import HIDDEN, act_data, view

NAME = "models"
_GIB = 2**30


@dataclass(frozen=True)
class Models:
    """Components of the tab. What is typed into stands apart from what is redrawn while it is open."""

    head: gr.HTML
    add: gr.HTML
    downloads: gr.HTML
    held: gr.HTML
    search: gr.HTML
    found: gr.HTML
    query: gr.State


def build() -> Models:
    order = ("head", "downloads", "held", "search", "found", "add")
    with gr.Column(elem_id="models", elem_classes="tab-body"):
        views = {name: view(id=f"models-{name}") for name in order}
    return Models(**views, query=gr.State(""))


def wire(tab: Models, page: Page) -> None:
    tab.head.value = message.loading(page.text)

    def act(query: str, event: gr.EventData) -> Updates:
        sent = act_data(event)
        if sent["act"] == "search":
            sought = str(sent["value"])
            return _found(tab, page, sought, page.facade.models()) | {tab.query: sought}
        apply(page, sent)
        return shown(tab, page, query) | (
            {tab.add: draw.add(page.text)} if sent["act"] == "model-own" else {}
        )

    everything = [*outputs(tab), page.notice]
    for source in (tab.head, tab.add, tab.downloads, tab.held, tab.search, tab.found):
        source.act(page.handler(act), inputs=[tab.query], outputs=everything, **HIDDEN)
    follow(
        page,
        NAME,
        lambda full, query: shown(tab, page, query) if full else _moving(tab, page),
        [tab.query],
        everything,
    )


def apply(page: Page, sent: dict[str, Any]) -> None:
    """What was clicked or typed."""
    facade, name = page.facade, sent["act"]
    if name == "remove":
        facade.remove(sent["name"], known_dependents(sent))
    elif name == "download":
        facade.download(sent["name"])
    elif name == "quota":
        gigabytes = float(sent["value"] or 0)
        facade.set_quota(round(gigabytes * _GIB) or None)
    elif name == "model-own":
        add(page, str(sent["value"]).strip())
    elif name == "drop":
        facade.delete(sent["run"])
    else:
        assert name in ("stop", "resume")
        getattr(facade, name)(sent["run"])


def add(page: Page, named: str) -> None:
    """A model of the hub is downloaded, a folder listed."""
    if not named:
        raise StudioError("model_name_empty")
    if parse(named).kind == "hub":
        page.facade.download(page.facade.model(named).name)
    else:
        page.facade.register(named)


def outputs(tab: Models) -> list[Any]:
    return [tab.head, tab.add, tab.downloads, tab.held, tab.search, tab.found, tab.query]


def opened(tab: Models, page: Page, query: str) -> Updates:  # noqa: ARG001 (the shape of every tab)
    fields = {tab.add: draw.add(page.text), tab.search: draw.search(page.text, ""), tab.query: ""}
    return shown(tab, page, "") | fields


def shown(tab: Models, page: Page, query: str) -> Updates:
    """All but the fields."""
    library = page.facade.library()
    models = page.facade.models()
    titles = {model.name: model.title for model in models}
    return {
        tab.head: draw.head(page.text, library.disk),
        tab.held: draw.held(page.text, library.holdings, titles),
        **_moving(tab, page),
        **_found(tab, page, query, models),
    }


def _moving(tab: Models, page: Page) -> Updates:
    jobs = _downloads(page)
    errors = {job.run: run_error(page, job.error) for job in jobs}
    return {tab.downloads: draw.downloads(page.text, jobs, errors) or ""}


def _downloads(page: Page) -> list[RunSummary]:
    return [job for job in page.facade.runs("download") if job.state != "done"]


def _found(tab: Models, page: Page, query: str, models: Sequence[ModelInfo]) -> Updates:
    under_way = [job.model for job in _downloads(page) if job.state in ("queued", *LIVE_STATES)]
    of_the_hub = [model for model in models if model.name.startswith("hub:")]
    found = draw.found(page.text, catalogue.search(of_the_hub, query), query, under_way)
    return {tab.found: found}
