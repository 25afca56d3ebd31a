"""What a method holds before the first step, against the tracker's count of a real beginning."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from studio import estimate
from studio.data.render import Encoded
from studio.memory import beginning
from studio.memory.beginning import begun
from studio.memory.tracker import StorageTracker, tensors_of
from studio.memory.workload import Workload
from studio.models.anatomy import Anatomy
from studio.models.config import read_config
from studio.models.load import load_model
from studio.plan import methods
from studio.train import lora_start
from studio.train.objective import Example, Forward, Models, make_objective
from studio.train.tuner import TunerContext, make_tuner
from tests.memory.plans import plan_of
from tests.toys.folders import write_model

QWEN = "hub:Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize(
    ("sizes", "precision"),
    [((256, 512), "bf16"), ((256, 1280), "bf16"), ((256, 512), "fp32")],
)
def test_loftq_holds_a_second_base_and_what_it_decomposes(tmp_path, sizes, precision):
    hidden, intermediate = sizes
    folder = write_model(tmp_path, hidden_size=hidden, intermediate_size=intermediate, head_dim=32)
    facts = read_config(folder)
    plan = plan_of("qlora", facts, init="loftq", precision=precision)
    method = methods.get("qlora")
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    load = partial(load_model, folder, dtype=dtype, device="cpu")
    base = load(quantisation=method.base_quantisation(plan.method_params))
    weights = sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(base))
    tracker = StorageTracker()

    def whole():
        second = load()
        tracker.hold(tensors_of(second), "weights")
        return second

    nothing = {"calibration_batches": lambda _: iter(()), "loss": lambda _: torch.zeros(())}
    context = TunerContext(plan, Anatomy(base), torch.Generator(), **nothing, whole_base=whole)
    with tracker:
        tracker.hold(tensors_of(base), "weights")
        make_tuner(plan).prepare(base, context)
    counted = begun(Workload(plan, facts, 0.5), weights)
    assert 0 <= tracker.peak_parts["weights"] - counted["weights"] < 1024  # the angles of positions
    assert abs(sum(counted.values()) / tracker.peak - 1) <= 0.02


def test_the_second_base_is_the_processors():
    settings = {"batch": 1, "seq": 64, "precision": "bf16"}
    here = estimate(QWEN, "qlora", init="loftq", device="cpu", **settings)
    usual = estimate(QWEN, "qlora", device="cpu", **settings)
    assert (here.moment, here.parts["weights"] - usual.parts["weights"]) == ("start", 2 * 494_032_768)
    there = estimate(QWEN, "qlora", init="loftq", device="cuda:0", **settings)
    assert there.parts["weights"] == usual.parts["weights"]


def begin(folder, plan):
    """Put a method onto a base as a run does, with three batches of the plan's size to look at: the base's
    bytes, and the tracker."""
    settings, facts = plan.settings, read_config(folder)
    quantisation = methods.get(plan.method).base_quantisation(plan.method_params)
    dtype = torch.float32 if settings.precision == "fp32" else torch.bfloat16
    base = load_model(folder, dtype=dtype, device="cpu", quantisation=quantisation)
    anatomy, objective = Anatomy(base), make_objective(plan)
    models = Models(Forward(anatomy, None, settings.loss_kernel), None)
    row = Encoded(list(range(settings.seq)), [i >= settings.seq // 2 for i in range(settings.seq)], False)

    def batches(count):
        for _ in range(min(count, 3)):
            yield objective.collate([Example({"text": row}, {"text": 1.0}, {})] * settings.batch, pad_id=0)

    def loss(batch):
        total, count, _ = objective.loss(models, batch)
        return total / count

    weights = sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(base))
    tracker = StorageTracker(vocabulary=facts.vocab)
    with tracker:
        tracker.hold(tensors_of(base), "weights")
        make_tuner(plan).prepare(base, TunerContext(plan, anatomy, torch.Generator(), batches, loss))
    return weights, tracker


@pytest.mark.parametrize(
    ("init", "sizes", "settings"),
    [
        ("eva", (256, 512), {}),
        ("eva", (128, 256), {"batch": 4, "seq": 1024}),
        ("eva", (256, 512), {"method": "qlora"}),
        ("corda", (256, 1280), {"precision": "fp32"}),
        ("lora_ga", (256, 512), {}),
        ("lora_ga", (128, 256), {"batch": 4, "seq": 1024, "gradient_checkpointing": True}),
        ("lora_ga", (256, 512), {"precision": "fp32"}),
        ("pissa", (256, 1280), {}),
        ("olora", (256, 512), {"precision": "fp32"}),
    ],
)
def test_what_a_beginning_looks_at_is_counted(tmp_path, init, sizes, settings):
    wide = dict(zip(("hidden_size", "intermediate_size"), sizes, strict=True))
    folder = write_model(tmp_path, **wide, head_dim=32, num_hidden_layers=4, vocab_size=4096)
    facts, given = read_config(folder), dict(settings)
    plan = plan_of(given.pop("method", "lora"), facts, init=init, **given)
    weights, tracker = begin(folder, plan)
    counted = sum(begun(Workload(plan, facts, 0.5), weights).values())
    assert counted == pytest.approx(tracker.peak, rel=0.02)


@pytest.mark.parametrize("init", ["eva", "lora_ga"])
def test_layers_are_read_in_groups(tmp_path, monkeypatch, init):
    wide = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 32, "vocab_size": 4096}
    folder = write_model(tmp_path, **wide, num_hidden_layers=4)
    facts = read_config(folder)
    plan = plan_of("lora", facts, init=init)
    whole = sum(begun(Workload(plan, facts, 0.5), 0).values())
    for place in (beginning, lora_start):
        monkeypatch.setattr(place, "GROUP_BYTES", 2_500_000)
    weights, tracker = begin(folder, plan)
    counted = begun(Workload(plan, facts, 0.5), weights)
    assert sum(counted.values()) == pytest.approx(tracker.peak, rel=0.03)
    assert sum(counted.values()) - weights < whole


def test_a_beginning_may_need_more_than_a_step():
    settings = {"device": "cuda:0", "batch": 4, "seq": 1024, "gradient_checkpointing": True}
    usual = estimate(QWEN, "lora", **settings)
    assert usual.moment == "backward"
    for init in ("eva", "corda", "lora_ga"):
        there = estimate(QWEN, "lora", init=init, **settings)
        assert (init, there.moment) == (init, "start")
        assert there.reserved[0] >= there.allocated > usual.allocated
    without = settings | {"gradient_checkpointing": False}
    assert estimate(QWEN, "lora", init="eva", **without).moment == "backward"
