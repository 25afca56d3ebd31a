"""Models of known shapes with random weights, for figures that do not depend on what a model has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def _llama(hidden: int, inner: int, layers: int, heads: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "32m": _llama(512, 1376, 8, 8, 8000),
    "0.5b": _llama(1024, 2816, 32, 16, 32000),
    "llama-2-7b": _llama(4096, 11008, 32, 32, 32000),
    "llama-2-13b": _llama(5120, 13824, 40, 40, 32000),
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
}


def config_of(name: str, **changes: Any) -> Any:
    """transformers' configuration of a shape."""
    return AutoConfig.for_model(**{**SHAPES[name], **changes})


def write_shape(name: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """A model folder of this shape, its weights drawn as transformers draws them, from a fixed seed."""
    torch.manual_seed(0)
    config = config_of(name)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = AutoModelForCausalLM.from_config(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
