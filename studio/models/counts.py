"""How the sizes of known families are read from a config.json: one line of `COUNTED` per family.

With them its weights are known without building the model (`studio.models.weights`). Of a multimodal model
only the text tower is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Counted:
    """How the sizes of a family are read.

    `defaults` stand for what a config.json may leave out; they are transformers' own. `names` translates the
    family's words for the usual sizes. `kv_heads` is for a family that doesn't state their number.
    """

    defaults: Values
    names: Mapping[str, str] = field(default_factory=dict)
    kv_heads: Callable[[Values], int | None] = lambda values: values.get("num_key_value_heads")


def _falcon_kv_heads(c: Values) -> int | None:
    """`num_kv_heads` counts in the newer layers only; the older have one, or as many as query heads."""
    if c["new_decoder_architecture"]:
        stated: int | None = c.get("num_kv_heads")
        return stated
    return 1 if c["multi_query"] else None


def _sizes(
    vocab: int,
    hidden: int,
    intermediate: int | None,
    layers: int,
    heads: int,
    kv_heads: int | None,
    head_dim: int | None,
    context: int,
    tied: bool,
    **own: Any,
) -> dict[str, Any]:
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
        **own,
    }


_OPT_OWN = {
    "word_embed_proj_dim": None,
    "enable_bias": True,
    "layer_norm_elementwise_affine": True,
    "do_layer_norm_before": True,
    "_remove_final_layer_norm": False,
    "dropout": 0.1,
}
_FALCON_OWN = {
    "new_decoder_architecture": False,
    "multi_query": True,
    "parallel_attn": True,
    "bias": False,
    "alibi": False,
    "num_ln_in_parallel_attn": None,
}
_GPT2_OWN = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
_MIXTRAL_OWN = {"num_local_experts": 8, "num_experts_per_tok": 2}
_QWEN_OWN = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_GEMMA3_OWN = {"sliding_window": 4096, "sliding_window_pattern": 6}
_GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "n_inner": "intermediate_size",
}

COUNTED: dict[str, Counted] = {
    "llama": Counted(_sizes(32000, 4096, 11008, 32, 32, None, None, 2048, False)),
    "mistral": Counted(_sizes(32000, 4096, 14336, 32, 32, 8, None, 131072, False, sliding_window=4096)),
    "granite": Counted(_sizes(32000, 4096, 11008, 32, 32, None, None, 2048, False)),
    "phi3": Counted(_sizes(32064, 3072, 8192, 32, 32, None, None, 4096, False)),
    "qwen2": Counted(_sizes(151936, 4096, 22016, 32, 32, 32, None, 32768, False, **_QWEN_OWN)),
    "qwen3": Counted(_sizes(151936, 4096, 22016, 32, 32, 32, 128, 32768, False, **_QWEN_OWN)),
    "gemma2": Counted(_sizes(256000, 2304, 9216, 26, 8, 4, 256, 8192, True, sliding_window=4096)),
    "gemma3_text": Counted(_sizes(262208, 2304, 9216, 26, 8, 4, 256, 131072, True, **_GEMMA3_OWN)),
    "cohere": Counted(_sizes(256000, 8192, 22528, 40, 64, None, None, 8192, True)),
    "mixtral": Counted(_sizes(32000, 4096, 14336, 32, 32, 8, None, 131072, False, **_MIXTRAL_OWN)),
    "gpt2": Counted(_sizes(50257, 768, None, 12, 12, None, None, 1024, True, **_GPT2_OWN), _GPT2_NAMES),
    "opt": Counted(
        _sizes(50272, 768, 3072, 12, 12, None, None, 2048, True, **_OPT_OWN),
        {"ffn_dim": "intermediate_size"},
    ),
    "gpt_neox": Counted(_sizes(50432, 6144, 24576, 44, 64, None, None, 2048, False, attention_bias=True)),
    "falcon": Counted(
        _sizes(65024, 4544, None, 32, 71, None, None, 2048, True, **_FALCON_OWN),
        {"ffn_hidden_size": "intermediate_size", "n_embed": "hidden_size"},
        _falcon_kv_heads,
    ),
}

# Values beside the usual sizes that decide how a layer is built, and what of it lives in a step.
OWN = frozenset(
    {
        *_GPT2_OWN,
        *_MIXTRAL_OWN,
        *_OPT_OWN,
        *_FALCON_OWN,
        *_QWEN_OWN,
        *_GEMMA3_OWN,
        "layer_types",
        "attention_bias",
        "mlp_bias",
        "use_qk_norm",
        "use_parallel_residual",
        "rotary_pct",
        "partial_rotary_factor",
        "rope_parameters",
        "rope_scaling",
    }
)
# Of these null says something: that there is none.
NULLABLE = frozenset({"sliding_window"})
