"""What is to be exported, as a value: which model, in which format, whether it is uploaded. No Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlencode

from backend.api import ExportRequest
from backend.api.chat import ChatModel

USUAL = "safetensors"


@dataclass(frozen=True)
class Exporting:
    """`job` is the export that is looked at; empty: the newest. An empty `model` is none at all."""

    model: str = ""
    format: str = USUAL
    settings: Mapping[str, str] = field(default_factory=dict)
    upload: str = ""
    public: bool = False
    job: str = ""


def choose_format(state: Exporting, format: str) -> Exporting:
    return state if format == state.format else replace(state, format=format, settings={})


def set_param(state: Exporting, name: str, value: str) -> Exporting:
    """A setting of the format; empty: the format's own."""
    rest = {key: given for key, given in state.settings.items() if key != name}
    return replace(state, settings={**rest, name: value} if value else rest)


def request(state: Exporting, format: str | None = None) -> ExportRequest:
    """What is asked for; in another `format` as that one usually is."""
    if format not in (None, state.format):
        return ExportRequest(state.model, str(format))
    upload = state.upload or None
    return ExportRequest(
        state.model, state.format, state.settings, upload=upload, public=state.public and bool(upload)
    )


def to_query(state: Exporting, tab: str) -> str:
    """The page's address for this choice."""
    pairs = [("tab", tab), ("export", state.model), ("format", state.format)]
    return urlencode([*pairs, ("job", state.job)] if state.job else pairs)


def from_query(query: str, models: Sequence[ChatModel], formats: Sequence[str]) -> Exporting:
    """The choice of an address, as far as it is there: else the newest that was learned, in the usual
    format."""
    found = {key: values[0] for key, values in parse_qs(query.lstrip("?")).items()}
    names = [model.name for model in models]
    wanted, format = found.get("export", ""), found.get("format", "")
    return Exporting(
        model=wanted if wanted in names else next(iter(names), ""),
        format=format if format in formats else USUAL,
        job=found.get("job", ""),
    )


def is_here(query: str) -> bool:
    """Whether an address means the exports, and not the mixer."""
    return "export" in parse_qs(query.lstrip("?"), keep_blank_values=True)
