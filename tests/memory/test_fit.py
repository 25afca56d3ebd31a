"""Making a plan fit: what is proposed fits by the estimate, and one step more does not."""

from dataclasses import replace
from itertools import pairwise

import pytest

from studio.defaults import RunFacts, resolve
from studio.errors import Reason
from studio.memory.cards import context_bytes
from studio.memory.changes import CHANGES, truncated_share
from studio.memory.estimate import estimate
from studio.memory.fit import (
    Case,
    largest_batch,
    largest_model,
    limits,
    longest_seq,
    proposals,
)
from studio.memory.need import Need
from studio.memory.reserved import on_card
from studio.memory.verdict import TIGHT, UNMEASURED, Experience, least_bytes, need_of, verdict
from studio.models import catalogue
from studio.plan import methods, parse_request

GIB = 2**30
SMALL = "hub:Qwen/Qwen2.5-0.5B-Instruct"
LARGE = "hub:Qwen/Qwen2.5-7B-Instruct"
HISTOGRAM = ((128, 500), (256, 300), (512, 150), (1024, 50))


def case(name=SMALL, method="lora", free=24 * GIB, histogram=(), **given):
    model = catalogue.find(name).facts
    facts = RunFacts(
        rows=5000,
        heldout_rows=100,
        longest=None,
        p95=None,
        model=model,
        device="cuda:0",
        device_reason=Reason("device_only_gpu"),
        cores=8,
        free_bytes=free,
        fast_bf16=True,
        learned=0.5,
    )
    plan, reasons = resolve(parse_request(name, "d", method, set=given), facts)
    return Case(plan, facts, frozenset(reasons), histogram)


def needed(case, **settings):
    """By the estimate itself, without anything that searches or keeps."""
    return estimate(case.plan.with_settings(**settings), case.model, case.facts.learned).reserved[1]


def test_on_a_card_that_is_here_the_interval_ends_where_the_card_does():
    """An allocator gives back what it holds unused before it gives up."""
    of = case(LARGE, batch=8, seq=4096, gradient_checkpointing=True)
    low, high = of.need().reserved
    on = {size: replace(of, facts=replace(of.facts, capacity=size)).need() for size in (high, high - 1)}
    assert on[high].reserved == (low, high)
    assert on[high - 1].reserved[1] == high - 1
    assert of.need().allocated < on[high - 1].reserved[0] < low
    assert on[high - 1].parts == of.need().parts


def test_what_a_card_cannot_hold_is_not_played_back():
    def never() -> tuple[int, int]:
        raise AssertionError

    need = Need("estimate", {"weights": 24 * GIB}, "backward", never)
    low, _ = context_bytes("cuda")
    assert on_card(need, "cuda", 24 * GIB).reserved == (24 * GIB + low, 24 * GIB + low)
    assert on_card(need, "cuda", 24 * GIB + low).reserved == (24 * GIB + low, 24 * GIB + low)


@pytest.mark.parametrize(
    ("needed", "free", "answer"),
    [
        (90, 100, "yes"),
        (91, 100, "tight"),
        (100, 100, "tight"),
        (101, 100, "no"),
        (None, 1, None),
        (1, None, None),
    ],
)
def test_verdict(needed, free, answer):
    assert verdict(needed, free) == answer


def test_a_kept_estimate_is_that_of_the_plan():
    of = case(batch=4, seq=256)
    faster = of.plan.with_settings(lr=0.5, steps=3, seed=9)
    assert need_of(faster, of.model, 0.5) is need_of(of.plan, of.model, 0.5)
    assert need_of(of.plan, of.model, 0.5).as_dict() == estimate(of.plan, of.model, 0.5).as_dict()
    assert need_of(of.plan, replace(of.model, parameters=None), 0.5) is None


@pytest.mark.parametrize(
    ("name", "method", "free", "given"),
    [
        (SMALL, "lora", 6 * GIB, {"batch": 8, "seq": 1024}),
        (SMALL, "full", 8 * GIB, {"batch": 4, "seq": 1024}),
        (SMALL, "lst", 2 * GIB, {"batch": 8, "seq": 1024}),
        (LARGE, "lora", 24 * GIB, {"batch": 8, "seq": 1024}),
        (LARGE, "full", 24 * GIB, {"batch": 4, "seq": 1024, "optimizer": "adamw_8bit"}),
        ("hub:Qwen/Qwen2.5-14B-Instruct", "lora", 24 * GIB, {"rank": 64, "batch": 1}),
        ("hub:Qwen/Qwen3-32B", "qst", 24 * GIB, {"batch": 4, "seq": 2048}),
    ],
)
def test_whatever_is_proposed_fits(name, method, free, given):
    of = case(name, method, free, HISTOGRAM, **given)
    before = needed(of)
    assert before > free
    found = proposals(of)
    assert found
    for each in found:
        settings = {k: v for k, v in {**given, **each.settings}.items() if v is not None}
        if each.method:  # what belongs to the old method alone goes with it
            own = {f for f in methods.get(each.method).params.__dataclass_fields__}
            settings = {k: v for k, v in settings.items() if k in own or hasattr(of.plan.settings, k)}
        again = case(name, each.method or method, free, **settings)
        assert again.plan.settings.batch * again.plan.settings.accumulation == of.plan.settings.batch
        assert needed(again) == each.needed <= TIGHT * free
        assert each.gain == before - each.needed
        assert each.verdict == "yes"
    # Single changes stand first, the cheapest of them at the top.
    sizes = [len(each.steps) for each in found]
    assert sorted(size > 1 for size in sizes) == [size > 1 for size in sizes]
    costs = [each.steps[0].cost for each in found if len(each.steps) == 1]
    assert costs == sorted(costs)


def test_a_batch_left_to_the_studio_takes_the_room_and_still_fits():
    of = case("hub:Qwen/Qwen2.5-14B-Instruct", "lora", 24 * GIB, rank=64)
    assert of.plan.settings.batch == 1
    by_qst = next(each for each in proposals(of) if each.method == "qst" and len(each.steps) == 1)
    again = case("hub:Qwen/Qwen2.5-14B-Instruct", "qst", 24 * GIB, **by_qst.settings)
    assert again.plan.settings.batch > 1
    assert verdict(again.needed(), again.free) == "yes"


def test_a_milder_step_than_the_proposed_one_would_not_fit():
    of = case(SMALL, "lora", 6 * GIB, HISTOGRAM, batch=64, seq=1024, gradient_checkpointing=True)
    alone = {tuple(each.settings): each for each in proposals(of) if len(each.steps) == 1}
    for change in CHANGES:
        steps = change.steps(of.plan, of.model, of.histogram)
        for milder, step in pairwise(steps):
            if alone.get(tuple(step.settings)) and alone[tuple(step.settings)].steps == (step,):
                assert of.after(milder).needed() > TIGHT * of.free
    assert ("batch", "accumulation") in alone


def test_a_plan_with_room_needs_no_advice_and_a_hopeless_one_gets_none():
    assert proposals(case(free=80 * GIB, batch=4, seq=512)) == []
    assert proposals(case("hub:meta-llama/Llama-3.3-70B-Instruct", free=8 * GIB)) == []


def test_a_tight_plan_gets_more_room():
    of = case(batch=4, seq=512)
    tight = replace(of, facts=replace(of.facts, free_bytes=int(1.02 * of.needed())))
    assert verdict(tight.needed(), tight.free) == "tight"
    found = proposals(tight)
    assert found
    assert all(each.needed <= TIGHT * tight.free for each in found)


def test_changes_are_combined_only_where_none_is_enough_by_itself():
    of = case("hub:Qwen/Qwen2.5-14B-Instruct", "lora", 12 * GIB, rank=64, batch=4, seq=1024)
    combined = [each for each in proposals(of) if len(each.steps) > 1]
    assert combined
    for each in combined:
        for step in each.steps:
            rest = [other for other in each.steps if other is not step]
            if not step.method:
                assert of.after(*rest).needed() > TIGHT * of.free


def test_methods_that_cannot_run_here_are_not_proposed():
    of = replace(case(LARGE, "lora", 20 * GIB, batch=8, seq=1024), barred=frozenset({"qlora", "qst"}))
    assert {each.method for each in proposals(of)} == {None}


def test_optimizers_that_cannot_run_here_are_not_proposed():
    of = case(SMALL, "full", 8 * GIB, batch=4, seq=1024)
    in_8_bit = {each.settings.get("optimizer") for each in proposals(of)}
    assert "adamw_8bit" in in_8_bit
    barred = replace(of, barred=frozenset({"adamw_8bit"}))
    assert "adamw_8bit" not in {each.settings.get("optimizer") for each in proposals(barred)}


def test_what_is_given_back_to_the_studio_is_told_as_it_would_choose():
    of = case(SMALL, "full", 8 * GIB, batch=4, seq=1024, optimizer_impl="fused")
    found = next(each for each in proposals(of) if "optimizer" in each.settings)
    assert found.settings["optimizer_impl"] is None
    assert found.resolved == {**found.settings, "optimizer_impl": "loop"}


@pytest.mark.parametrize(
    ("batch", "accumulation", "smaller"),
    [
        (8, 1, [(4, 2), (2, 4), (1, 8)]),
        (5, 1, [(1, 5)]),
        (6, 1, [(3, 2), (2, 3), (1, 6)]),
        (7, 2, [(2, 7), (1, 14)]),
        (1, 4, []),
    ],
)
def test_a_smaller_batch_keeps_the_rows_of_an_optimizer_step(batch, accumulation, smaller):
    of = case(SMALL, batch=batch, accumulation=accumulation)
    change = next(change for change in CHANGES if change.id == "batch")
    steps = change.steps(of.plan, of.model, ())
    assert [tuple(step.settings.values()) for step in steps] == smaller


def test_what_was_measured_widens_what_has_to_be_free_and_nothing_else():
    of = case(batch=4, seq=512)
    measured = replace(of, experiences={"lora": Experience(tensors=2.0), "qlora": Experience(whole=2.0)})
    assert measured.need() is of.need()
    # The process itself is no larger for that, and what the interval has room for is no news.
    tensors, context = of.need().allocated, of.need().parts["context"]
    assert measured.needed() == 2 * tensors + context > of.needed()
    assert replace(of, experiences={"lora": Experience(tensors=1.01)}).needed() == of.needed()
    assert measured.fits(measured.needed())
    assert not measured.fits(measured.needed() - 1)
    assert measured.by("qlora").needed() == 2 * of.by("qlora").needed()
    # Of models of another size and of other devices it says nothing.
    assert measured.on(catalogue.find(LARGE).facts).needed() == of.on(catalogue.find(LARGE).facts).needed()
    assert measured.there("cpu", GIB, True).needed() == of.there("cpu", GIB, True).needed()
    assert largest_batch(measured) < largest_batch(of)


@pytest.mark.parametrize("method", ["lora", "full", "lst", "qlora", "qst"])
def test_one_more_than_the_largest_does_not_fit(method):
    of = case(SMALL, method, 16 * GIB, batch=4, seq=512)
    batch = largest_batch(of)
    assert needed(of, batch=batch) <= of.free < needed(of, batch=batch + 1)
    seq = longest_seq(of)
    assert needed(of, seq=seq) <= of.free
    assert seq == of.model.context or needed(of, seq=seq + 1) > of.free


def test_limits_know_their_ends():
    assert largest_batch(case(LARGE, "full", 8 * GIB)) == 0
    tiny = case("starter", free=24 * GIB, batch=1, seq=64)
    found = limits(tiny)
    assert (found.seq, found.whole_context) == (tiny.model.context, True)
    # Where it is not known what the model reads, the setting is the end, and not a whole context.
    unknown = replace(tiny, facts=replace(tiny.facts, model=replace(tiny.model, context=None)))
    roomy = replace(unknown, facts=replace(unknown.facts, free_bytes=1 << 50))
    assert (longest_seq(roomy), limits(roomy).whole_context) == (2**20, False)


def test_the_largest_model_fits_and_those_above_it_do_not():
    of = case(SMALL, "qlora", 24 * GIB, batch=1, seq=512)
    models = [(entry.name, entry.facts) for entry in catalogue.entries()]
    name = largest_model(of, models)
    best = catalogue.find(name).facts
    assert of.on(best).needed() <= of.free
    for other, facts in models:
        if facts.parameters > best.parameters:
            assert of.on(facts).needed() > of.free, other
        # What rules a model out without an estimate is less than its estimate.
        assert least_bytes(of.on(facts).plan, facts) <= of.on(facts).need().allocated


def test_truncated_rows_are_counted():
    assert truncated_share(HISTOGRAM, 512) == 0.05
    assert truncated_share(HISTOGRAM, 511) == 0.2
    assert truncated_share(HISTOGRAM, 1024) == 0
    assert truncated_share((), 512) is None


def test_another_model_keeps_the_settings_and_chooses_its_own():
    of = case(SMALL, "lst", 24 * GIB, batch=2, seq=1024)
    tiny = catalogue.find("starter").facts
    there = of.on(tiny)
    assert there.plan.settings.seq == tiny.context == 512
    assert there.plan.settings.batch == 2
    chosen, _ = methods.get("lst").choose(methods.get("lst").params(), tiny)
    assert there.plan.method_params == chosen
    assert UNMEASURED.needed(there.need()) == needed(there)
