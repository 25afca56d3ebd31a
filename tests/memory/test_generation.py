"""What answering is said to need, against a real model that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, LlamaConfig

from studio.generate.adapters import AdapterPool
from studio.generate.decode import Decoder
from studio.generate.request import BASE, Request
from studio.memory.answering import answering_need
from studio.memory.generation import cache_bytes, cache_sizes, generation_need
from studio.memory.rehearsal import prepared
from studio.memory.tracker import StorageTracker, tensors_of
from studio.models.config import ModelFacts, facts_of
from studio.models.quantisation import Quantisation
from studio.plan import methods
from tests.memory.plans import plan_of

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


def peak(prompt: int, tokens: int) -> int:
    """Of a prompt and the tokens after it, in 32 bit on the processor."""
    model = AutoModelForCausalLM.from_config(LlamaConfig(**CONFIG)).eval()
    tracker = StorageTracker()
    with torch.no_grad(), tracker:
        tracker.hold(tensors_of(model), "weights")
        cache = DynamicCache(config=model.config)
        ids = torch.zeros((1, prompt), dtype=torch.int64)
        for _ in range(tokens + 1):
            logits = model(ids, past_key_values=cache, logits_to_keep=1).logits[:, -1]
            ids = torch.softmax(logits.float(), dim=-1).argmax(dim=-1, keepdim=True)
    return tracker.peak


@pytest.mark.parametrize(("prompt", "tokens"), [(1000, 2), (400, 1), (8, 100)])
def test_answering_needs_what_a_real_model_takes(prompt: int, tokens: int) -> None:
    need = generation_need(facts(), None, 4, 1, prompt + tokens, prompt, "cpu")
    assert need.allocated == pytest.approx(peak(prompt, tokens), rel=0.01)
    assert need.moment == ("answering" if tokens > prompt else "reading the prompt")


@pytest.mark.parametrize(("prompt", "tokens"), [(1000, 2), (8, 100)])
@pytest.mark.parametrize("method", ["lora", "lst"])
def test_what_was_learned_answers_beside_the_model(
    tmp_path: Path, method: str, prompt: int, tokens: int
) -> None:
    """Against the chat engine's own decoder: the adapter or side network, and the side network's cache."""
    plan = plan_of(method, facts(), precision="fp32", adapter_dtype="fp32")
    tuned, tuner = prepared(plan, AutoModelForCausalLM.from_config(LlamaConfig(**CONFIG)))
    tuner.save(tuned, tmp_path)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**CONFIG)).eval().requires_grad_(False)
    if method == "lora":
        pool = AdapterPool(model)
        decoder, name = Decoder(model, pool), pool.require(tmp_path)
        held = list(tensors_of(model))
    else:
        ladder = tuner.beside(model, tmp_path)
        decoder, name = Decoder(model, around=ladder.on), BASE
        held = [*tensors_of(model), *tensors_of(ladder.network)]
    tracker = StorageTracker()
    with tracker:
        tracker.hold(held, "weights")
        decoder.add(Request((1,) * prompt, max_tokens=tokens, adapter=name))
        while decoder.busy:
            decoder.step()
    terms = methods.get(method).memory(facts(), plan.method_params, plan.settings)
    need = generation_need(facts(), None, 4, 1, prompt + tokens - 1, prompt, "cpu", terms)
    assert need.allocated == pytest.approx(tracker.peak, rel=0.04)
    side = (2 * 4 * terms.side.width + terms.side.pointed + 1) * (prompt + tokens) * 4 if terms.side else 0
    plain = generation_need(facts(), None, 4, 1, prompt + tokens - 1, prompt, "cpu").parts["cache"]
    assert need.parts["cache"] - plain == pytest.approx(side, rel=0.02)


WINDOWED: dict[str, Any] = {"head_dim": 16, "sliding_window": 32, "num_hidden_layers": 6, "vocab_size": 300}
FAMILIES: list[dict[str, Any]] = [
    CONFIG | WINDOWED | {"model_type": "gemma3_text", "sliding_window_pattern": 3},
    CONFIG | WINDOWED | {"model_type": "gemma2"},
    CONFIG | WINDOWED | {"model_type": "mistral"},
    CONFIG,
]


def told(query: Any, key: Any, value: Any, attn_mask: Any = None, **more: Any) -> Any:
    """torch's attention, which makes numbers of a mask out of sight of a tracker."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.where(attn_mask, 0.0, float("-inf"))
    return ATTENTION(query, key, value, attn_mask=attn_mask, **more)


ATTENTION = functional.scaled_dot_product_attention


@pytest.mark.parametrize(("prompt", "tokens"), [(500, 2), (24, 40)])
@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config["model_type"])
def test_windows_keep_no_more_than_the_engine_does(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], prompt: int, tokens: int
) -> None:
    """Against the chat engine's own decoder and cache: their largest moment, and what is kept at the end."""
    monkeypatch.setattr(functional, "scaled_dot_product_attention", told)
    known = {name: value for name, value in config.items() if name != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **known)).eval()
    decoder, tracker, kept = Decoder(model), StorageTracker(), 0
    with tracker:
        tracker.hold(tensors_of(model), "weights")
        decoder.add(Request((1,) * prompt, max_tokens=tokens))
        while decoder.busy:
            decoder.step()
            kept = max(kept, decoder.cache_bytes)
    sizes = facts_of(config)
    need = generation_need(sizes, None, 4, 1, prompt + tokens - 1, prompt, "cpu")
    assert need.allocated == pytest.approx(tracker.peak, rel=0.03)
    # The last token of an answer is never read, and its row is gone when it is there.
    assert cache_bytes(sizes, 4, 1, prompt + tokens - 2) == kept


def test_a_window_keeps_one_position_less_than_it_sees() -> None:
    gemma = facts_of(FAMILIES[0])
    slide, full = 2 * 16 * 31 * 2, 2 * 16 * 1000 * 2
    assert cache_sizes(gemma, 2, 1, 1000) == [slide, slide, full, slide, slide, full]
    assert cache_sizes(gemma, 2, 1, 20) == [2 * 16 * 20 * 2] * 6


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_cache_is_not_thought_to_be_held_twice(device: str) -> None:
    """Only one layer's old keys and values stand beside its new ones."""
    short, long = (answering_need(facts(), "bfloat16", 8, positions, device) for positions in (1024, 2048))
    cache = long.parts["cache"] - short.parts["cache"]
    passing = sum(
        long.parts.get(name, 0) - short.parts.get(name, 0) for name in ("activations", "logits", "workspace")
    )
    wider = (long.reserved[1] - long.reserved[0]) - (short.reserved[1] - short.reserved[0])
    assert wider <= passing + cache // 4 + 2 * 4 * 2 * 2**20  # four layers; segments of whole 2 MiB


def test_a_cache_grows_with_rows_and_positions() -> None:
    assert cache_bytes(facts(), 2, 3, 100) == 2 * 4 * 3 * 100 * (2 * 16) * 2


def test_4_bit_weights_are_spread_out_on_a_gpu() -> None:
    """The largest matrix in 16 bit, and cuBLAS's own 8,519,680 bytes."""
    packed = generation_need(facts(), Quantisation("nf4", True), 2, 1, 40, 32)
    assert packed.parts["workspace"] >= 2 * 128 * 384 + 8_519_680
    assert packed.parts["weights"] < generation_need(facts(), None, 2, 1, 40, 32).parts["weights"]


def facts() -> ModelFacts:
    return facts_of(CONFIG)
