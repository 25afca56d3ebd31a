"""Models of every family, small and of real proportions, as config.json would say them."""

from __future__ import annotations

from typing import Any

_USUAL = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 16000,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_UNGROUPED = {k: v for k, v in _USUAL.items() if k not in ("num_key_value_heads", "intermediate_size")}
_GPT2 = {"n_embd": 512, "n_layer": 6, "n_head": 8, "n_positions": 1024, "vocab_size": 16000}
_GEMMA = {**_USUAL, "head_dim": 64, "tie_word_embeddings": True}
_FALCON = {**_UNGROUPED, "alibi": False}
_OPT = {**_UNGROUPED, "ffn_dim": 2048, "word_embed_proj_dim": 512}
_VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
    "vision_use_head": False,
}

# By a name of the case: one of each family, and forms of it that are built otherwise.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_USUAL, "tie_word_embeddings": False},
    "mistral": {"model_type": "mistral", **_USUAL, "head_dim": 80, "sliding_window": 128},
    "qwen2": {"model_type": "qwen2", **_USUAL, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **_USUAL, "head_dim": 64},
    "phi3": {"model_type": "phi3", **_USUAL, "tie_word_embeddings": False},
    "phi3-partial": {"model_type": "phi3", **_USUAL, "partial_rotary_factor": 0.75},
    "gemma2": {"model_type": "gemma2", **_GEMMA},
    "gemma3_text": {"model_type": "gemma3_text", **_GEMMA},
    "gemma3": {
        "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", **_GEMMA},
        "vision_config": {"model_type": "siglip_vision_model", **_VISION},
        "mm_tokens_per_image": 4,
    },
    "granite": {"model_type": "granite", **_USUAL, "tie_word_embeddings": True},
    "granite-biased": {"model_type": "granite", **_USUAL, "attention_bias": True, "mlp_bias": True},
    "cohere": {"model_type": "cohere", **_USUAL},
    "cohere-normed": {"model_type": "cohere", **_USUAL, "use_qk_norm": True},
    "gpt2": {"model_type": "gpt2", **_GPT2},
    "gpt2-still": {"model_type": "gpt2", **_GPT2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "opt": {"model_type": "opt", **_OPT},
    "opt-narrow": {"model_type": "opt", **_OPT, "word_embed_proj_dim": 256, "do_layer_norm_before": False},
    "gpt_neox": {"model_type": "gpt_neox", **_UNGROUPED, "intermediate_size": 2048},
    "gpt_neox-in-turn": {
        "model_type": "gpt_neox",
        **_UNGROUPED,
        "intermediate_size": 2048,
        "use_parallel_residual": False,
    },
    "falcon": {"model_type": "falcon", **_FALCON},
    "falcon-newer": {
        "model_type": "falcon",
        **_FALCON,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
    },
    "falcon-oldest": {
        "model_type": "falcon",
        **_FALCON,
        "multi_query": False,
        "parallel_attn": False,
        "bias": True,
        "alibi": True,
    },
    "mixtral": {"model_type": "mixtral", **_USUAL, "num_local_experts": 4},
}
