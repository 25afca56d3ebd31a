"""Charts: series in, a Plotly figure as JSON out (importing Plotly's object model would cost start-up time).

Every chart is small: at most 2,000 points a curve come from the facade. One run is the accent, further ones
have Okabe-Ito colours. `figure` gives `gr.Plot` the JSON that Plotly's own page code reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gradio.components.plot import PlotData

from backend.api import MemoryPoint, Series
from ui.fragments.text import Text
from ui.look import tokens
from ui.look.plotly import template

SMALL = ("lr", "grad_norm", "tokens_per_second", "memory_bytes")
SMALL_MARGIN = {"l": 44, "r": 8, "t": 4, "b": 24}
_CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": False, "showTips": False}


def smooth(values: Sequence[float | None], weight: float) -> list[float | None]:
    """Exponential average, the start's bias taken out; `weight` 0 leaves the curve as it is.

    With m_t = w m_(t-1) + (1 - w) x_t from m_0 = 0, a point is m_t / (1 - w^t); gaps stay gaps.
    """
    average, seen, out = 0.0, 0, []
    for value in values:
        if value is None:
            out.append(None)
            continue
        seen += 1
        average = weight * average + (1 - weight) * value
        out.append(average / (1 - weight**seen))
    return out


def figure(traces: Sequence[dict[str, Any]], layout: dict[str, Any]) -> PlotData:
    """Traces and layout with the studio's template, in the form that `gr.Plot` passes on unchanged."""
    body = {
        "data": list(traces),
        "layout": {"template": template(), "autosize": True, **layout},
        "config": _CONFIG,
    }
    return PlotData(type="plotly", plot=json.dumps(body))


def loss_chart(text: Text, series: Sequence[Series], weight: float = 0.0, *, height: int = 300) -> PlotData:
    """Loss and held-out loss of one run (accent) or of several over each other (one colour per run)."""
    runs = list(dict.fromkeys(s.run for s in series))
    traces: list[dict[str, Any]] = []
    for one in series:
        colour = tokens.SERIES[runs.index(one.run) % len(tokens.SERIES)]
        label = text(f"metric.{one.name}") if len(runs) == 1 else f"{one.run} · {text(f'metric.{one.name}')}"
        if one.name == "eval_loss":
            held_out = tokens.CHART_BASE if len(runs) == 1 else colour
            traces.append(_line(one.steps, one.values, label, held_out, dash="dot", markers=True))
            continue
        if weight > 0:
            traces.append(_line(one.steps, one.values, label, colour, faint=True))
        traces.append(_line(one.steps, smooth(one.values, weight), label, colour))
    layout = _layout(text("metric.step"), text("metric.loss"), height, legend=True)
    return figure(traces, layout if any(s.steps for s in series) else layout | _nothing_yet(text))


def small_chart(text: Text, name: str, series: Sequence[Series]) -> PlotData:
    """One metric in a small multiple; its title stands in the page above it."""
    runs = list(dict.fromkeys(s.run for s in series))
    divisor = 1024**3 if name == "memory_bytes" else 1
    traces = [
        _line(
            s.steps,
            [None if v is None else v / divisor for v in s.values],
            s.run,
            tokens.SERIES[runs.index(s.run) % len(tokens.SERIES)],
        )
        for s in series
        if s.name == name
    ]
    layout = _layout(None, text(f"metric.{name}"), 170, legend=False) | {"margin": SMALL_MARGIN}
    return figure(traces, layout if any(t["x"] for t in traces) else layout | _nothing_yet(text))


def memory_chart(text: Text, points: Sequence[MemoryPoint], *, height: int = 340) -> PlotData:
    """Measured over predicted memory in gigabytes, a colour per method and device; on the diagonal the
    prediction was right. Axes are logarithmic where the runs differ by more than a factor of 20."""
    sizes = [size / 1024**3 for p in points for size in (p.predicted_bytes, p.measured_bytes)]
    ends = [0.8 * min(sizes), 1.2 * max(sizes)]
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "name": text("measured.diagonal"),
        "hoverinfo": "skip",
        "line": {"color": tokens.CHART_BASE, "width": 1.2, "dash": "dot"},
    }
    kinds = list(dict.fromkeys((p.method, p.device, p.card) for p in points))
    traces = [_dots(kind, number, points) for number, kind in enumerate(kinds)]
    axis = {"type": "log" if max(sizes) > 20 * min(sizes) else "linear"}
    layout = {
        "height": height,
        "showlegend": True,
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": text("measured.predicted.axis")}},
        "yaxis": {**axis, "title": {"text": text("measured.measured.axis")}},
        "uirevision": "keep",
    }
    return figure([diagonal, *traces], layout)


def _dots(kind: tuple[str | None, ...], number: int, points: Sequence[MemoryPoint]) -> dict[str, Any]:
    shown = [p for p in points if (p.method, p.device, p.card) == kind]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [p.predicted_bytes / 1024**3 for p in shown],
        "y": [p.measured_bytes / 1024**3 for p in shown],
        "text": [p.run for p in shown],
        "name": " · ".join(filter(None, kind)),
        "hovertemplate": "%{text}: %{x:.3g} → %{y:.3g}<extra></extra>",
        "marker": {"color": tokens.SERIES[number % len(tokens.SERIES)], "size": 9, "symbol": number % 6},
    }


def _line(
    steps: Sequence[int],
    values: Sequence[float | None],
    label: str,
    colour: str,
    *,
    dash: str = "solid",
    markers: bool = False,
    faint: bool = False,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers or len(steps) < 2 else "lines",
        "x": list(steps),
        "y": list(values),
        "name": label,
        "showlegend": not faint,
        "hoverinfo": "skip" if faint else None,
        "hovertemplate": None if faint else "%{y:.4g}",
        "opacity": 0.28 if faint else 1.0,
        "line": {"color": colour, "width": 1.2 if faint else 2, "dash": dash},
        "marker": {"color": colour, "size": 6},
        "connectgaps": False,
    }


def _nothing_yet(text: Text) -> dict[str, Any]:
    """In place of axes without a curve."""
    words = {
        "text": text("metric.soon"),
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
    }
    hidden = {"visible": False, "fixedrange": True}
    return {"xaxis": hidden, "yaxis": hidden, "annotations": [words]}


def _layout(x: str | None, y: str, height: int, *, legend: bool) -> dict[str, Any]:
    return {
        "height": height,
        "showlegend": legend,
        "xaxis": {"title": {"text": x} if x else None, "rangemode": "tozero"},
        "yaxis": {"title": None, "rangemode": "tozero" if legend else "normal"},
        "meta": {"title": y},
        "uirevision": "keep",
    }
