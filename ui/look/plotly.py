"""The Plotly template. Text and grid colours are set again by the stylesheet, per mode; see `studio.css`."""

from __future__ import annotations

from typing import Any

from ui.look import tokens


def template() -> dict[str, Any]:
    """As a plain dict: importing Plotly's object model is left to whoever draws."""
    axis = {
        "gridcolor": tokens.CHART_GRID,
        "zeroline": False,
        "linecolor": tokens.CHART_GRID,
        "ticks": "",
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12}},
        "tickfont": {"size": 11},
    }
    return {
        "layout": {
            "font": {"family": tokens.SANS, "size": 12, "color": tokens.CHART_TEXT},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(tokens.SERIES),
            "margin": {"l": 44, "r": 12, "t": 8, "b": 36},
            "xaxis": axis | {"showgrid": False},
            "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
            "hovermode": "x unified",
            "hoverlabel": {
                "bgcolor": tokens.DARK["sunken"],
                "bordercolor": tokens.DARK["line"],
                "font": {"color": tokens.DARK["ink"], "size": 12},
            },
        }
    }
