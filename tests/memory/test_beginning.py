"""What LoftQ holds before the first step, against the tracker's count of a real beginning."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from studio import estimate
from studio.memory.beginning import begun
from studio.memory.tracker import StorageTracker, tensors_of
from studio.memory.workload import Workload
from studio.models.anatomy import Anatomy
from studio.models.config import read_config
from studio.models.load import load_model
from studio.plan import methods
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
