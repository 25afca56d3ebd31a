"""What is to be exported, as a value: which model, in which format, whether it is uploaded. No Gradio."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlencode

from backend.api import ExportRequest
from backend.api.chat import ChatModel

USUAL = "safetensors"
LISTED = 6


@dataclass(frozen=True)
class Exporting:
    """`job` is the export that is looked at; empty: the newest. An empty `model` is none at all. `listed`:
    how many of the other exports show."""

    model: str = ""
    format: str = USUAL
    settings: Mapping[str, str] = field(default_factory=dict)
    upload: str = ""
    public: bool = False
    job: str = ""
    listed: int = LISTED


def choose_format(state: Exporting, format: str) -> Exporting:
    return state if format == state.format else replace(state, format=format, settings={})


def set_param(state: Exporting, name: str, value: str) -> Exporting:
    """A setting of the format; empty: the format's own."""
    rest = {key: given for key, given in state.settings.items() if key != name}
    return replace(state, settings={**rest, name: value} if value else rest)


def request(state: Exporting) -> ExportRequest:
    """What is asked for."""
    upload = state.upload or None
    return ExportRequest(
        state.model, state.format, state.settings, upload=upload, public=state.public and bool(upload)
    )


def to_query(state: Exporting, tab: str) -> str:
    """The page's address for this choice."""
    pairs = {"tab": tab, "export": state.model, "format": state.format}
    if state.settings:
        pairs["set"] = json.dumps(dict(state.settings), separators=(",", ":"))
    if state.job:
        pairs["job"] = state.job
    return urlencode(pairs)


def from_query(query: str, models: Sequence[ChatModel], formats: Mapping[str, Sequence[str]]) -> Exporting:
    """The choice of an address, as far as it is there: else the newest that was learned, in the usual
    format. `formats`: by id the names of their settings."""
    found = {key: values[0] for key, values in parse_qs(query.lstrip("?")).items()}
    names = [model.name for model in models]
    wanted, format = found.get("export", ""), found.get("format", "")
    return Exporting(
        model=wanted if wanted in names else next(iter(names), ""),
        format=format if format in formats else USUAL,
        settings=_settings(found.get("set", "{}"), formats.get(format, ())),
        job=found.get("job", ""),
    )


def _settings(text: str, known: Sequence[str]) -> dict[str, str]:
    try:
        given = json.loads(text)
    except ValueError:
        return {}
    return {key: str(given[key]) for key in known if key in given} if isinstance(given, dict) else {}


def is_here(query: str) -> bool:
    """Whether an address means the exports, and not the mixer."""
    return "export" in parse_qs(query.lstrip("?"), keep_blank_values=True)
