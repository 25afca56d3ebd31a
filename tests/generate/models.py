"""Tiny random models of the families that differ in attention, positions or cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 211
CONTEXT = 160
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": None,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
_WINDOW = {"sliding_window": 8}  # far shorter than the prompts, so that rows cross it


def _llama(**more: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**{**_SHAPE, **more}))


def _gpt2() -> Any:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None, pad_token_id=0))


FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SHAPE, **_WINDOW)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SHAPE)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_SHAPE, **_WINDOW, attn_implementation="eager")),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_SHAPE, **_WINDOW)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**_SHAPE)),
    "gpt2": _gpt2,
}


def tiny(family: str = "llama", seed: int = 0, **more: Any) -> Any:
    """A random model in eval mode; `more` goes into a llama's config."""
    torch.manual_seed(seed)
    model = _llama(**more) if more else FAMILIES[family]()
    with torch.no_grad():  # far from the flat logits of a fresh model, so that tokens differ
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.3)
    return model.eval().requires_grad_(False)


def prompt(length: int, seed: int) -> tuple[int, ...]:
    """Random token ids."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(1, VOCABULARY, (length,), generator=generator).tolist())
