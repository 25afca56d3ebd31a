"""Small models of families that the studio does not know, as config.json would say them."""

from __future__ import annotations

from typing import Any

_USUAL = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 16000,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OLDER = {
    "n_embd": 512,
    "n_layer": 4,
    "n_head": 8,
    "n_positions": 1024,
    "vocab_size": 16000,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512}

CONFIGS: dict[str, dict[str, Any]] = {
    model_type: {"model_type": model_type, **sizes}
    for model_type, sizes in {
        "olmo": _USUAL,
        "olmo2": _USUAL,
        "starcoder2": {**_USUAL, "tie_word_embeddings": False},
        "stablelm": _USUAL,
        "phi": _USUAL,
        "glm4": {**_USUAL, "head_dim": 64},
        "smollm3": _USUAL,
        "exaone4": _USUAL,
        "cohere2": _USUAL,
        "gemma": {**_USUAL, "head_dim": 64},
        "gpt_bigcode": _OLDER,
        "gptj": _OLDER,
        "bloom": {**_OLDER, "hidden_size": 512},
        "nemotron": _USUAL,
        "qwen2_moe": {**_USUAL, **_EXPERTS, "shared_expert_intermediate_size": 1024},
        "qwen3_moe": {**_USUAL, **_EXPERTS},
    }.items()
}
