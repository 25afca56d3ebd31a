"""The tokens keep their promises: contrast in both modes, one place for colours, nothing from outside."""

import re

import pytest

from ui.look import tokens
from ui.look.css import FOLDER, script, stylesheet

TEXTS = [
    *[(ink, on) for ink in ("ink", "ink-2", "ink-3") for on in ("page", "surface", "sunken")],
    *[("accent", on) for on in ("page", "surface", "accent-soft")],
    ("on-accent", "accent-fill"),
    ("on-accent", "accent-hover"),
    ("base", "base-soft"),
    ("base", "surface"),
    *[(tone, f"{tone}-soft") for tone in ("good", "wait", "bad")],
    *[("ink-2", f"{tone}-soft") for tone in ("good", "wait", "bad", "accent")],
    ("bad", "surface"),
]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("mode", [tokens.LIGHT, tokens.DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "surface"), TEXTS)
def test_text_can_be_read_on_what_it_stands_on(mode, text, surface):
    assert contrast(mode[text], mode[surface]) >= 4.5


@pytest.mark.parametrize("mode", [tokens.LIGHT, tokens.DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    "colour", [*tokens.SERIES, *tokens.PARTS.values(), tokens.CHART_BASE, tokens.CHART_TUNED]
)
def test_curves_stand_out_on_cards_of_both_modes(mode, colour):
    assert contrast(colour, mode["surface"]) >= 3


@pytest.mark.parametrize("mode", [tokens.LIGHT, tokens.DARK], ids=["light", "dark"])
def test_the_edge_of_a_field_can_be_seen(mode):
    assert contrast(mode["line-strong"], mode["surface"]) >= 3


def test_what_is_out_of_date_can_still_be_read():
    """Fading would take the contrast away that the tokens promise."""
    rules = re.findall(r"\.outdated[^{]*\{([^}]*)\}", stylesheet())
    assert rules
    assert all("opacity" not in rule for rule in rules)


def test_both_modes_have_the_same_tokens():
    assert tokens.LIGHT.keys() == tokens.DARK.keys()


def test_the_rules_name_no_colour_of_their_own_and_only_tokens_that_exist():
    rules = "".join(file.read_text(encoding="utf-8") for file in FOLDER.glob("*.css"))
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\s,)])", rules) == []
    named = set(re.findall(r"var\(--([a-z0-9-]+)", rules))
    assert named <= {*tokens.LIGHT, *tokens.SIZES, "sans", "mono", "key", "pane"}


def test_the_page_asks_no_other_host():
    assert re.findall(r"https?://", stylesheet() + script()) == []
