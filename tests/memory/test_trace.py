"""The trace on fake tensors against the tracker's count of real steps of real models."""

from __future__ import annotations

import pytest

from studio.memory.estimate import estimate
from studio.memory.rehearsal import Rehearsal, prepared
from studio.memory.trace import trace
from studio.memory.tracker import StorageTracker
from studio.models.config import load_config, read_config
from studio.models.load import load_model, weights_dtype
from studio.plan import methods
from tests.memory.plans import METHODS, plan_of
from tests.toys.folders import FAMILY_CONFIGS, VOCAB, write_model


def measured(folder, plan, learned=0.5):
    """Bytes at the peak of a real second step."""
    method = methods.get(plan.method)
    dtype = weights_dtype(plan.settings.precision, method.capable("trains_base", plan.method_params))
    quantisation = method.base_quantisation(plan.method_params)
    base = load_model(folder, dtype=dtype, device="cpu", quantisation=quantisation)
    tuned, tuner = prepared(plan, base)
    rehearsal = Rehearsal(plan, base, tuned, tuner, "cpu", learned)
    tracker = StorageTracker(vocabulary=VOCAB)
    with tracker:
        rehearsal.hold(tracker)
        rehearsal.make_optimizer_state()
        rehearsal.hold_optimizer(tracker)
        tracker.restart_peak()
        rehearsal.step(tracker)
    return tracker.peak


def compare(folder, method, **settings):
    plan = plan_of(method, read_config(folder), batch=4, seq=128, **settings)
    return trace(plan, load_config(folder / "config.json"), 0.5).allocated / measured(folder, plan) - 1


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_trace_counts_what_a_real_step_holds(tmp_path, method, checkpointing):
    folder = write_model(tmp_path, hidden_size=128, intermediate_size=256, head_dim=32)
    assert abs(compare(folder, method, gradient_checkpointing=checkpointing)) <= 0.01


@pytest.mark.parametrize("method", METHODS)
def test_trace_counts_mixed_precision(tmp_path, method):
    folder = write_model(tmp_path, hidden_size=128, intermediate_size=256, head_dim=32)
    assert abs(compare(folder, method, precision="mixed")) <= 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("optimizer", "params"),
    [
        ("galore", {"every": 1, "rank": 8}),
        ("galore", {"every": 1}),
        ("apollo", {"rank": 8}),
        ("adafactor", {}),
    ],
)
def test_what_an_optimizer_makes_of_one_tensor_after_the_other(tmp_path, optimizer, params, precision):
    """On square matrices, where choosing directions anew takes more than the step along them."""
    folder = write_model(tmp_path, hidden_size=256, intermediate_size=256, head_dim=32)
    settings = {"optimizer": optimizer, "optimizer_impl": "loop", "precision": precision, **params}
    plan = plan_of("full", read_config(folder), **{"batch": 1, "seq": 8}, **settings)
    real = measured(folder, plan)
    found = trace(plan, load_config(folder / "config.json"), 0.5)
    assert found.moment == "optimizer step"
    assert abs(found.allocated / real - 1) <= 0.01
    assert abs(estimate(plan, read_config(folder), 0.5).allocated / real - 1) <= 0.01


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_trace_counts_trained_lengths_beside_4_bit(tmp_path, precision):
    folder = write_model(tmp_path, hidden_size=128, intermediate_size=256, head_dim=32)
    assert abs(compare(folder, "qlora", precision=precision, dora=True)) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILY_CONFIGS))
def test_trace_counts_each_family(tmp_path, family):
    assert abs(compare(write_model(tmp_path, family), "full", precision="fp32")) <= 0.01
