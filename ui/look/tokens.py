"""The one place that names a colour, a size or a font.

The stylesheet (`ui.look.css`), the Gradio theme (`ui.look.theme`) and the Plotly template (`ui.look.plotly`)
are made from these. Base is always slate, tuned always the accent. Contrast of every text colour against the
surfaces it stands on is tested to be 4.5:1 or more, in both modes.
"""

from __future__ import annotations

SANS = 'system-ui, -apple-system, "Segoe UI", "Liberation Sans", "Helvetica Neue", Arial, sans-serif'
MONO = 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, monospace'

# Parts of a memory bar: the base slate, what learns the accent, the rest after Okabe and Ito.
PARTS: dict[str, str] = {
    "part-weights": "#76849a",
    "part-adapter": "#7a6ff0",
    "part-optimizer": "#009e73",
    "part-gradients": "#d55e00",
    "part-activations": "#3d93c9",
    "part-logits": "#cc79a7",
    "part-workspace": "#b8860b",
    "part-context": "#6b7486",
}

# Answers beside the base's slate and the first run's accent, after Okabe and Ito.
PANES: dict[str, str] = {"pane-3": "#d55e00", "pane-4": "#009e73", "pane-5": "#3d93c9"}

LIGHT: dict[str, str] = {
    **PARTS,
    **PANES,
    "page": "#f6f7f9",
    "surface": "#ffffff",
    "sunken": "#f0f2f5",
    "line": "#e1e5eb",
    "line-strong": "#8b94a5",
    "ink": "#171c26",
    "ink-2": "#475063",
    "ink-3": "#5f697b",
    "accent": "#5448d8",
    "accent-fill": "#5448d8",
    "accent-hover": "#463bc0",
    "accent-soft": "#efedfd",
    "accent-line": "#c4bdf6",
    "on-accent": "#ffffff",
    "base": "#566378",
    "base-soft": "#eef1f5",
    "good": "#13703a",
    "good-soft": "#e5f5ea",
    "wait": "#8a4b06",
    "wait-soft": "#fdf1dc",
    "bad": "#b3222a",
    "bad-soft": "#fdeaea",
    "float-shadow": "0 12px 32px rgba(23, 28, 38, .16)",
}

DARK: dict[str, str] = {
    **PARTS,
    **PANES,
    "page": "#0f1218",
    "surface": "#171b23",
    "sunken": "#1f242e",
    "line": "#2b313d",
    "line-strong": "#6b7486",
    "ink": "#e9ecf2",
    "ink-2": "#b3bbc8",
    "ink-3": "#949dae",
    "accent": "#a59dff",
    "accent-fill": "#6357ec",
    "accent-hover": "#564ae2",
    "accent-soft": "#262348",
    "accent-line": "#4a438f",
    "on-accent": "#ffffff",
    "base": "#9aa7ba",
    "base-soft": "#222833",
    "good": "#5fd38a",
    "good-soft": "#16301f",
    "wait": "#f0b65a",
    "wait-soft": "#35280f",
    "bad": "#ff8a8a",
    "bad-soft": "#3a1a1d",
    "float-shadow": "0 12px 32px rgba(0, 0, 0, .5)",
}

SIZES: dict[str, str] = {
    "space-1": "4px",
    "space-2": "8px",
    "space-3": "12px",
    "space-4": "16px",
    "space-5": "24px",
    "space-6": "40px",
    "radius": "12px",
    "radius-small": "8px",
    "text": "15px",
    "text-small": "13px",
    "heading": "20px",
    "heading-large": "26px",
    "content": "1200px",
    "rail": "208px",
}

# One chart serves both modes (it is drawn once, on the server), so these stand 3:1 or more on both surfaces.
CHART_BASE = "#76849a"
CHART_TUNED = "#7a6ff0"
CHART_TEXT = "#7b8494"
CHART_GRID = "rgba(128, 138, 155, .22)"

# After Okabe and Ito's set, which people with any colour vision can tell apart, without its black and yellow
# (neither stands out on both a white and a dark card).
SERIES = ("#7a6ff0", "#d55e00", "#009e73", "#3d93c9", "#cc79a7", "#b8860b")
