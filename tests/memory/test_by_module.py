"""What lives in each module at the peak: put together by layer, and against real steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.memory.by_module import Layout, by_module
from studio.memory.places import Places
from studio.memory.rehearsal import Rehearsal, prepared
from studio.memory.trace import layout_of, trace
from studio.memory.tracker import StorageTracker
from studio.models.anatomy import Anatomy
from studio.models.config import load_config, read_config
from studio.models.load import load_model, weights_dtype
from studio.plan import Plan, methods
from tests.memory.plans import plan_of
from tests.toys.folders import VOCAB, write_model

SIZES = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "num_hidden_layers": 5}
LAYOUT = Layout("model.model", "model")


def test_layers_that_hold_the_same_are_one_row() -> None:
    sizes = {(f"model.model.layers.{i}.mlp.up_proj", "forward"): 10 if i != 2 else 30 for i in range(5)}
    sizes |= {(f"model.model.layers.{i}.mlp.gate", "weights"): 1 for i in range(5)}
    sizes |= {
        ("model.lm_head", "weights"): 7,
        ("", "backward"): 3,
        ("", "optimizer step"): 2,
        ("inputs", "x"): 0,
    }
    found = by_module(sizes, LAYOUT, {"forward": "activations", "backward": "workspace"})
    assert [(row.module, row.bytes) for row in found] == [
        ("layers.0-1,3-4.mlp", 44),
        ("layers.2.mlp", 31),
        ("lm_head", 7),
        ("loss", 3),
        ("optimizer", 2),
    ]
    assert found[0].parts == {"activations": 40, "weights": 4}
    assert LAYOUT.name("model.model.layers.3.self_attn.q_proj", "backward") == "layers.3.self_attn"


def real(folder: Path, plan: Plan) -> dict[str, int]:
    """Bytes by module at the peak of a real second step."""
    method = methods.get(plan.method)
    dtype = weights_dtype(plan.settings.precision or "", method.capable("trains_base", plan.method_params))
    base = load_model(
        folder, dtype=dtype, device="cpu", quantisation=method.base_quantisation(plan.method_params)
    )
    tuned, tuner = prepared(plan, base)
    rehearsal = Rehearsal(plan, base, tuned, tuner, "cpu", 0.5)
    places = Places(rehearsal.computation)
    tracker = StorageTracker(vocabulary=VOCAB, places=places)
    with places, tracker:
        rehearsal.hold(tracker)
        rehearsal.make_optimizer_state()
        rehearsal.hold_optimizer(tracker)
        tracker.restart_peak()
        rehearsal.step(tracker)
    layout = layout_of(rehearsal.computation, Anatomy(base))
    return {row.module: row.bytes for row in by_module(tracker.peak_sizes, layout, {})}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["full", "lora", "qst"])
def test_each_module_holds_what_it_holds_in_a_real_step(
    tmp_path: Path, method: str, checkpointing: bool
) -> None:
    folder = write_model(tmp_path, **SIZES)
    facts = read_config(folder)
    plan = plan_of(method, facts, batch=4, seq=128, gradient_checkpointing=checkpointing)
    traced = trace(plan, load_config(folder / "config.json"), 0.5)
    assert sum(row.bytes for row in traced.modules) == traced.allocated
    for part, size in traced.parts.items():
        assert sum(row.parts.get(part, 0) for row in traced.modules) == size
    found = real(folder, plan)
    assert set(found) == {row.module for row in traced.modules}
    for row in traced.modules:
        assert row.bytes == pytest.approx(found[row.module], rel=0.01, abs=1024)


def test_weights_and_what_a_checkpoint_keeps_stand_with_their_layers(tmp_path: Path) -> None:
    folder = write_model(tmp_path, **SIZES)
    facts = read_config(folder)
    plan = plan_of(
        "lora", facts, batch=4, seq=128, precision="fp32", adapter_dtype="fp32", gradient_checkpointing=True
    )
    traced = trace(plan, load_config(folder / "config.json"), 0.5)
    rows = {row.module: row.parts for row in traced.modules}
    mlp = [parts for name, parts in rows.items() if name.endswith(".mlp")]
    assert sum(parts["weights"] for parts in mlp) == 5 * 3 * 128 * 256 * 4
    assert rows["embed_tokens"]["weights"] == VOCAB * 128 * 4
    # Of each layer but the one that is computed again, its output: 4 rows of 128 tokens, 128 wide.
    kept = 4 * 128 * 128 * 4
    whole = [parts for name, parts in rows.items() if name.startswith("layers.") and name.count(".") == 1]
    assert sum(parts["activations"] for parts in whole) >= 4 * kept
    assert traced.moment == "backward"
    assert traced.at is not None
    assert traced.at.startswith("layers.")
