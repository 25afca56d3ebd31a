"""Time and energy in words, on the panel, in the wizard and with a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.api import EpochCost, Spent
from ui.fragments import epoch, how, memory, run
from ui.fragments.format import energy_text

COST = EpochCost(720.0, (700.0, 1200.0), 43_200.0, "pirate-1", ())


def said(words, cost):
    return epoch.line(words.text, {"lora": cost}, "lora")


def test_the_run_that_tells_it_is_named_with_what_it_had_otherwise(words):
    assert said(words, COST) == (
        "An epoch takes about 12 min (12 min to 20 min), going by pirate-1. "
        "About 12 Wh for the whole device, with all that runs on it."
    )
    near = replace(COST, range_seconds=(720.0, 720.0), joules=None, differs=("batch", "seq"))
    assert said(words, near) == (
        "An epoch takes about 12 min, going by pirate-1, which differed in batch size, sequence length."
    )
    short = replace(COST, seconds=0.4, range_seconds=(0.3, 0.5), joules=None)
    assert said(words, short) == "An epoch takes less than a second, going by pirate-1."


def test_every_setting_that_may_differ_has_a_name(words):
    from backend.epochs import _NEAR

    assert all(words.has(f"epoch.differs.{name}") for name in (*_NEAR, "method"))


def test_what_is_not_known_is_not_said(words, facade):
    assert epoch.line(words.text, {"lora": COST}, "qlora") is None
    assert set(epoch.document(None).values()) == {None}
    draft = replace(facade.draft("starter", "pirate"), epochs={})
    assert "epoch takes" not in memory.panel(words, draft, {"lora": "LoRA"})
    assert epoch.steps_line(words.text, None) is None


def test_the_panel_and_the_wizard_say_it_by_method(words, facade):
    draft = replace(facade.draft("starter", "pirate"), epochs={"lora": COST})
    line = said(words, COST)
    assert line in memory.panel(words, draft, {"lora": "LoRA"})
    assert line in how.view(words, draft, [], facade.methods(), "lora")


def test_a_run_that_ended_says_what_its_steps_took(words, facade):
    spent = Spent(steps=40, tokens=20_000, seconds=10.0, joules=7200.0)
    detail = replace(facade.run("pirate-1"), spent=spent)
    html = str(run.watch(words.text, detail, None))
    assert "A step took 0.25 s on average, 2,000 tokens a second." in html
    assert "40 steps took 2.0 Wh, counted for the whole device" in html


@pytest.mark.parametrize(
    ("joules", "text"),
    [(320, "320 J"), (3600, "1.0 Wh"), (43_200, "12 Wh"), (3.6e6, "1.0 kWh"), (3.6e9, "1,000 kWh")],
)
def test_energy_is_told_in_the_unit_of_its_size(joules, text):
    assert energy_text(joules) == text
