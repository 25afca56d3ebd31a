"""The memory panel: bars to scale, parts that sum up, one click that changes the plan."""

import json
import re
from dataclasses import replace

import pytest
from markupsafe import escape

from backend.api import Calibration, GpuProcess, MemoryLimits, MemoryNeed, Reason, Room
from studio.errors import StudioError
from tests.fake_content import GIB, PROPOSALS
from ui import acts
from ui.fragments import how, memory
from ui.fragments.html import join
from ui.fragments.wizard import foot, start
from ui.wizard import Wizard

NEED = MemoryNeed(
    method="lora",
    parts={"weights": 8 * GIB, "adapter": GIB, "activations": 5 * GIB, "context": GIB},
    moment="layer -1",
    allocated_bytes=14 * GIB,
    reserved_bytes=(15 * GIB, 17 * GIB),
    trainable_params=10,
    total_params=1000,
    fits="no",
)
OTHER = replace(
    NEED, method="qlora", parts={"weights": 2 * GIB}, reserved_bytes=(2 * GIB, 2 * GIB), fits="yes"
)
ROOMS = (
    Room("cuda:0", "A card", 24 * GIB, 16 * GIB, (GpuProcess(7, "blender", 8 * GIB),), "no"),
    Room("cuda:1", "Another", 24 * GIB, 24 * GIB, (), "yes"),
    Room("cpu", "A processor", 64 * GIB, 60 * GIB, (), "yes"),
)
TITLES = {"lora": "LoRA", "qlora": "QLoRA"}


@pytest.fixture
def draft(facade):
    shown = facade.draft("starter", "pirate")
    needs = {"lora": NEED, "qlora": OTHER}
    return replace(shown, memory=NEED, method_needs=needs, rooms=ROOMS, proposals=PROPOSALS)


def widths(html):
    return [float(found) for found in re.findall(r'class="part [^"]*" style="width:([\d.]+)%', str(html))]


def test_parts_sum_up_to_what_must_be_free():
    parts = memory.parts_of(NEED)
    assert sum(parts.values()) == NEED.needed_bytes
    assert parts["reserve"] == 2 * GIB
    assert "gradients" not in parts
    # More tensors than the interval says are never drawn as less than nothing.
    assert "reserve" not in memory.parts_of(replace(NEED, reserved_bytes=(1, 2)))


def test_what_was_measured_here_stands_beside_the_estimate(words, draft):
    assert "measured" not in str(memory.panel(words, draft, TITLES))
    calibrated = replace(
        NEED, measured_need=18 * GIB, calibration=Calibration("cuda:0", "NVIDIA L4", "lora", 1.08, 5)
    )
    html = str(memory.panel(words, replace(draft, method_needs={"lora": calibrated}), TITLES))
    assert "Measured runs here took 1.08 x of what was predicted (5 runs)" in html
    parts = memory.parts_of(calibrated)
    assert {name: parts[name] for name in NEED.parts} == NEED.parts
    assert parts["reserve"] == 3 * GIB
    probed = replace(calibrated, probed=replace(NEED, reserved_bytes=(16 * GIB, 16 * GIB)))
    html = str(memory.panel(words, replace(draft, method_needs={"lora": probed}), TITLES))
    assert "A probe of this very plan took 16 GB here" in html


def test_bars_are_to_one_scale_and_mark_what_is_free(words, draft):
    scale = memory.scale_of(draft, [NEED, OTHER])
    assert scale == 17 * GIB
    html = memory.bar(words.text, NEED, 16 * GIB, scale)
    assert sum(widths(html)) == pytest.approx(100, abs=0.1)
    assert f"width:{100 * 16 / 17:.2f}%" in html
    assert sum(widths(memory.bar(words.text, OTHER, 16 * GIB, scale))) == pytest.approx(100 * 2 / 17, abs=0.1)
    huge = replace(NEED, reserved_bytes=(0, 500 * GIB))
    scale = memory.scale_of(draft, [NEED, huge])
    assert scale == 500 * GIB
    assert sum(widths(memory.bar(words.text, huge, 16 * GIB, scale))) == pytest.approx(100, abs=0.1)
    assert sum(widths(memory.bar(words.text, NEED, 16 * GIB, scale))) == pytest.approx(3.4, abs=0.1)


def test_every_part_is_explained_on_the_bar_and_in_the_table(words, draft):
    html = str(memory.panel(words, draft, TITLES))
    for name in memory.parts_of(NEED):
        assert words.has(f"memory.part.{name}")
        assert html.count(str(escape(words.text(f"memory.part.{name}.help")))) >= 2
    assert "15 GB to 17 GB" in html
    assert words.text("memory.moment.layer") in html
    assert "1 %" in html


def test_devices_are_named_with_what_else_runs_there(words, draft):
    html = str(memory.panel(words, draft, TITLES))
    assert "blender 8.0 GB" in html
    assert "Another" in html
    assert "A processor" not in html
    assert [room.device for room in memory.shown_rooms(ROOMS[2:])] == ["cpu"]


def test_a_plan_that_is_too_big_is_started_only_after_a_second_question(words, draft, facade):
    small = replace(draft, memory=OTHER)
    for one, lead, kind in ((draft, "how.lead.no", 'class="button"'), (small, "how.lead", "button primary")):
        assert escape(words.text(lead)) in how.view(words, one, [], facade.methods(), "lora")
        button = start(words.text, one, True)
        assert kind in button
        assert ("data-confirm" in button) == (one is draft)
    assert "data-confirm" in foot(
        words.text, Wizard(goal="style", model="starter", dataset="pirate").to(3), True, draft
    )


def test_a_plan_without_an_estimate_has_no_panel(words, draft):
    unknown = replace(draft, memory=None)
    assert memory.panel(words, unknown, TITLES) is None
    assert memory.make_fit(words, unknown) is None
    assert words.text("plan.memory.open") in memory.summary(words.text, unknown)


def test_advice_comes_only_where_it_is_needed(words, draft):
    assert memory.make_fit(words, replace(draft, memory=OTHER)) is None
    assert words.text("fit.none") in memory.make_fit(words, replace(draft, proposals=()))
    html = str(memory.make_fit(words, draft))
    assert words.text("reason.price_checkpointing") in html
    assert html.count('data-act="fit"') == 1


def test_several_changes_make_one_sentence(words):
    changes = (Reason("fit_qlora"), Reason("fit_checkpointing"), Reason("fit_rank", {"rank": 4}))
    what, _ = memory.proposal_words(words, replace(PROPOSALS[0], what=changes))
    assert what == (
        "Hold the model in 4 bit (QLoRA), and compute activations twice (gradient checkpointing), and rank 4"
    )


def test_one_click_changes_the_settings_and_the_method(facade):
    wizard = Wizard(goal="style", model="starter", dataset="pirate", settings={"batch": 8, "lr": 1e-3}).to(3)
    changes = {"batch": 2, "accumulation": 4, "optimizer_impl": None}
    after = acts.apply(facade, wizard, {"act": "fit", "method": "", "settings": json.dumps(changes)})
    assert after.settings == {"lr": 1e-3, "batch": 2, "accumulation": 4}
    assert after.method == "lora"
    rank = replace(wizard, settings={"rank": 64, "lr": 1e-3})
    after = acts.apply(facade, rank, {"act": "fit", "method": "lora", "settings": "{}"})
    assert after.settings == {"lr": 1e-3}


def test_the_most_that_fits_says_what_does_not(words):
    found = [MemoryLimits("qlora", 12, 512, True, "Some 7B"), MemoryLimits("lora", 0, 0, False, None)]
    html = str(join(memory.limits(words.text, found, TITLES)))
    assert html.index("LoRA") < html.index("QLoRA")
    assert words.text("limits.context", tokens="512") in html
    assert html.count("\u2013") == 3


def test_the_card_of_a_method_that_cannot_run_here_says_why(words, facade):
    shown = facade.draft("starter", "pirate")
    methods = [*facade.methods(), {"id": "qst", "title": "QST", "summary": "Beside 4 bit.", "params": []}]
    why = StudioError("bitsandbytes_missing", method="QST")
    cards = str(how.method_cards(words, methods, "lora", replace(shown, unable={"qst": why})))
    row = cards[cards.index('data-name="qst"') :]
    assert words.text("how.unable") in row
    for sentence in words.error(why):
        assert escape(sentence) in row
    assert words.text("how.unable") not in str(how.method_cards(words, methods, "lora", shown))
