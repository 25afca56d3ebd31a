"""Memory, predicted and measured, on the page of a run and on the System tab."""

import dataclasses
import json

import pytest

from tests import fake_content
from tests.fake_facade import FakeFacade
from ui import charts
from ui.fragments import measured
from ui.tabs import runs, system

GIB = 2**30
REDUCED = {"step": 7, "rows": 16, "micro_batch": 8, "times": 1, "probed": False}


def test_a_run_says_what_was_predicted_and_what_it_took(words):
    line = measured.line(words.text, fake_content.memory_point("a"))
    assert "615 MB predicted, 640 MB measured (x1.04)" in line
    assert "GPU" not in line
    on_gpu = dataclasses.replace(fake_content.memory_point("a"), reserved_bytes=3 * GIB)
    assert "3.0 GB reserved" in measured.line(words.text, on_gpu)
    assert measured.line(words.text, None) is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"larger": "step", "predicted_bytes": GIB, "measured_bytes": 2 * GIB},
            "The step itself (activations, gradients, workspace): 1.0 GB predicted, 2.0 GB or more needed.",
        ),
        ({"larger": None, "predicted_bytes": GIB, "measured_bytes": GIB}, "less room than that"),
        ({"larger": None, "predicted_bytes": None, "measured_bytes": GIB}, ""),
    ],
)
def test_a_lack_of_memory_is_told_in_words(words, more, said):
    events = [{"kind": "checkpoint", "body": {"step": 5}}, {"kind": "memory_reduced", "body": REDUCED | more}]
    told = measured.shortages(words.text, events)
    assert "Out of memory after step 7." in told
    assert "with 8 rows at a time in place of 16" in told
    assert said in told
    assert told.count('class="message wait"') == 1
    assert measured.shortages(words.text, events[:1]) == ""


def test_what_a_probe_found_before_the_run_is_told_as_such(words):
    body = REDUCED | {"probed": True, "larger": None, "predicted_bytes": GIB, "measured_bytes": GIB}
    told = measured.shortages(words.text, [{"kind": "memory_reduced", "body": body}])
    assert "One step was tried first" in told
    assert "Out of memory" not in told


def test_both_stand_on_the_page_of_the_run(page):
    tab = runs.build()
    head = str(runs.opened(tab, page, "run=pirate-1")[tab.head])
    assert "615 MB predicted" in head


def test_the_system_tab_draws_all_runs_and_their_table(page):
    tab = system.build()
    updates = system.opened(tab, page, "")
    assert updates[tab.chart_card].visible is True
    assert "lora on cpu: measured here: x1.04 (1 run)" in updates[tab.memory]
    assert "615 MB / 640 MB" in updates[tab.table]
    assert "pirate-1" in updates[tab.table]


def test_before_the_first_run_the_system_tab_says_what_will_stand_there(words, tmp_path, page):
    facade = FakeFacade(tmp_path, runs=[])
    tab = system.build()
    updates = system.opened(tab, type(page)(facade, words, page.notice, page.query), "")
    assert words.text("measured.empty.title") in updates[tab.memory]
    assert updates[tab.chart_card].visible is False
    assert updates[tab.chart] is None
    assert updates[tab.table] == ""


def test_the_chart_has_the_diagonal_and_a_colour_per_method_and_device(words):
    one = fake_content.memory_point("a")
    other = dataclasses.replace(one, run="b", method="qlora")
    body = json.loads(charts.memory_chart(words.text, [one, other, one]).plot)
    diagonal, lora, qlora = body["data"]
    assert diagonal["x"] == diagonal["y"]
    assert lora["x"] == [615 / 1024] * 2
    assert (qlora["text"], qlora["y"]) == (["b"], [640 / 1024])
    assert lora["marker"]["color"] != qlora["marker"]["color"]
    assert lora["marker"]["symbol"] != qlora["marker"]["symbol"]
    assert body["layout"]["xaxis"]["type"] == "linear"
    huge = dataclasses.replace(one, measured_bytes=50 * GIB)
    assert json.loads(charts.memory_chart(words.text, [one, huge]).plot)["layout"]["yaxis"]["type"] == "log"
