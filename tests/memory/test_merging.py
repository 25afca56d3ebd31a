"""What merging is said to need, against a real merge."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.identity import base_identity
from studio.memory.merging import merging_need, stored_bytes
from studio.memory.tracker import StorageTracker
from studio.merge import PROMPTS, TOKENS
from studio.merge.into_base import Source, merge_into_base
from studio.merge.verify import verify
from studio.models.config import read_config
from tests.memory.plans import plan_of
from tests.toys.folders import sums, tiny_plan, write_model, write_run
from tests.toys.runs import run_plan

SIZES = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 4}
# Where most is in use: in a layer whose weights outweigh what it computes, and at the head.
WIDE = {"hidden_size": 768, "intermediate_size": 2048, "head_dim": 192}
TALL = {**SIZES, "vocab_size": 30_000}


@pytest.mark.parametrize(
    ("method", "sizes", "settings", "moment"),
    [
        ("lora", WIDE, {}, "verifying"),
        ("lora", TALL, {}, "verifying"),
        ("lora", {**WIDE, "vocab_size": 16_000}, {"trainable_tokens": "5,6"}, "merging"),
        ("lora", TALL, {"modules_to_save": "lm_head"}, "verifying"),
        ("lora", {**TALL, "tie_word_embeddings": False}, {"modules_to_save": "lm_head"}, "verifying"),
        ("lora", TALL, {"modules_to_save": "embed_tokens", "adapter_dtype": "bf16"}, "verifying"),
        ("qlora", WIDE, {}, "verifying"),
        ("full", TALL, {}, "verifying"),
    ],
)
def test_a_real_merge_takes_as_much(
    tmp_path: Path,
    method: str,
    sizes: dict[str, int],
    settings: dict[str, str],
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = write_model(tmp_path / "model", **sizes)
    plan = tiny_plan(method, steps=1, **settings)
    run_plan(plan, model, write_run(tmp_path / "run", sums(8), sums(4, 100)), monkeypatch)
    base = base_identity(model, tmp_path / "hashes.json").hash
    source = Source(tmp_path / "run" / "adapter", model, base, None, "fp32")
    prompts = [[5 + n] * TOKENS for n in range(PROMPTS)]
    with StorageTracker() as tracker:
        out = merge_into_base(source, tmp_path / "merged")
        verify(source, out, prompts, exact=False)
    facts = read_config(model)
    need = merging_need(plan, facts, stored_bytes(model, facts))
    assert need.moment == moment
    assert need.allocated == pytest.approx(tracker.peak, rel=0.1)
    written = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    assert need.disk == written


def test_files_are_as_large_as_the_config_says(tmp_path: Path) -> None:
    for family in ("llama", "qwen2", "gpt2", "mixtral"):
        sizes = {"n_embd": 128} if family == "gpt2" else SIZES
        folder = write_model(tmp_path / family, family, **sizes)
        facts = read_config(folder)
        # Beside the weights a file has the names of its tensors.
        assert stored_bytes(None, facts) == pytest.approx(stored_bytes(folder, facts), rel=0.01)


def test_an_adapter_is_held_whole(tmp_path: Path) -> None:
    facts = read_config(write_model(tmp_path, **SIZES))
    # 4 layers, rank 8; inputs and outputs of q, o, k, v, gate, up, down.
    ends = 2 * (256 + 256) + 2 * (256 + 128) + 3 * (256 + 512)
    lora = merging_need(plan_of("lora", facts, rank=8, adapter_dtype="fp32"), facts, 10**6)
    assert lora.parts["adapter"] == 4 * 4 * 8 * ends
    assert "adapter" not in merging_need(plan_of("full", facts), facts, 10**6).parts
    with pytest.raises(StudioError) as caught:
        merging_need(plan_of("lst", facts), facts, 10**6)
    assert caught.value.code == "method_not_mergeable"
