"""The Gradio theme: every colour a custom property of the stylesheet, so both modes follow one switch."""

from __future__ import annotations

import gradio as gr

from ui.look import tokens


def theme() -> gr.themes.Base:
    """For the few components that Gradio draws itself (plots, page background, toasts)."""
    look = gr.themes.Base(font=[tokens.SANS], font_mono=[tokens.MONO])
    both = {
        "body_background_fill": "var(--page)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--ink-2)",
        "background_fill_primary": "var(--surface)",
        "background_fill_secondary": "var(--sunken)",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent-line)",
        "color_accent_soft": "var(--accent-soft)",
        "block_background_fill": "transparent",
        "block_border_color": "var(--line)",
        "link_text_color": "var(--accent)",
        "link_text_color_hover": "var(--accent)",
        "link_text_color_visited": "var(--accent)",
        "link_text_color_active": "var(--accent)",
    }
    return look.set(
        **both,
        **{f"{name}_dark": value for name, value in both.items()},
        color_accent="var(--accent)",
        body_text_size=tokens.SIZES["text"],
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        block_radius=tokens.SIZES["radius"],
        layout_gap="0px",
    )
