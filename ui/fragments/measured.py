"""Memory as it was predicted and as it was measured: of one run in a line, of all runs as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api import Calibration, MemoryPoint
from ui.fragments import message
from ui.fragments.format import DASH, bytes_text
from ui.fragments.html import h, join
from ui.fragments.parts import data_table, fold, heading
from ui.fragments.text import Text

PARTS = ("weights", "adapter", "optimizer", "step")


def shortages(text: Text, events: Sequence[Mapping[str, Any]]) -> Markup:
    """What was done each time that the run was out of memory."""
    told = [event["body"] for event in events if event["kind"] == "memory_reduced"]
    return join([message.card("wait", _what(text, body), _why(text, body)) for body in told])


def _what(text: Text, body: Mapping[str, Any]) -> str:
    if body["probed"]:
        return text("event.memory_reduced.probed", **body)
    return text("event.memory_reduced", **body)


def _why(text: Text, body: Mapping[str, Any]) -> str | None:
    """Which part was larger than thought, where that can be told."""
    if body["predicted_bytes"] is None:
        return None
    if body["larger"] is None:
        return text("event.memory_reduced.as_thought", **body)
    return text("event.memory_reduced.larger", part=text(f"memory.told.{body['larger']}"), **body)


def line(text: Text, point: MemoryPoint | None) -> Markup | None:
    """Predicted and measured memory of one run."""
    if point is None:
        return None
    words = text(
        "measured.line",
        predicted_bytes=point.predicted_bytes,
        measured_bytes=point.measured_bytes,
        factor=f"{point.measured_bytes / point.predicted_bytes:.2f}",
    )
    reserved = None
    if point.reserved_bytes is not None:
        reserved = text("measured.line.reserved", reserved_bytes=point.reserved_bytes)
    return h("p", " ".join(filter(None, (words, reserved))), class_="quiet memory-line")


def head(text: Text, calibrations: Sequence[Calibration]) -> Markup:
    """Above the chart: what it is, and how far this machine lies from the predictions."""
    return join(
        heading(text("measured.title"), text("measured.lead")),
        h("ul", [h("li", _calibrated(text, one)) for one in calibrations], class_="quiet")
        if calibrations
        else message.empty(text("measured.empty.title"), text("measured.empty.line"), symbol="chip"),
    )


def _calibrated(text: Text, one: Calibration) -> str:
    return text(
        "measured.here", method=one.method, device=where(one), factor=f"{one.factor:.2f}", runs=one.runs
    )


def where(one: MemoryPoint | Calibration) -> str:
    """The device, with the name of the GPU that it was."""
    return f"{one.device} ({one.card})" if one.card else one.device


def table(text: Text, points: Sequence[MemoryPoint]) -> Markup | None:
    """The points of the chart with their parts, newest first."""
    if not points:
        return None
    head = [text("measured.run"), text("measured.method"), text("measured.device"), text("measured.all")]
    head += [text(f"memory.told.{part}") for part in PARTS] + [text("measured.reserved")]
    rows = [
        (
            point.run,
            point.method,
            where(point),
            _pair(text, point.predicted_bytes, point.measured_bytes),
            *[_pair(text, point.predicted_parts[part], point.measured_parts[part]) for part in PARTS],
            DASH if point.reserved_bytes is None else bytes_text(point.reserved_bytes),
        )
        for point in reversed(points)
    ]
    return fold(text("measured.table"), data_table(text("measured.table"), head, rows))


def _pair(text: Text, predicted: int, measured: int) -> str:
    return text("measured.pair", predicted_bytes=predicted, measured_bytes=measured)
