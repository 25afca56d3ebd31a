"""Exact parameter counts from a config.json, without building the model: one line of `COUNTED` per family.

A count says what transformers would build (tests compare the two on torch's meta device), a weight that two
parts share counted once. Of a multimodal model only the text tower is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.models.config import ModelFacts

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Counted:
    """How the sizes of a family are read and added up.

    `defaults` stand for what a config.json may leave out; they are transformers' own. `names` translates the
    family's words for the usual sizes. `kv_heads` is for a family that doesn't state their number.
    """

    count: Callable[[Values, ModelFacts], int]
    defaults: Values
    names: Mapping[str, str] = field(default_factory=dict)
    kv_heads: Callable[[Values], int | None] = lambda values: values.get("num_key_value_heads")


def _attention(c: Values, f: ModelFacts, *, qkv_bias: bool = False) -> int:
    """Query, key, value and output projections of a layer, with grouped keys and values."""
    query, keyed = f.heads * f.head_dim, f.kv_heads * f.head_dim
    weights = f.hidden * (query + 2 * keyed) + query * f.hidden
    if c.get("attention_bias"):
        return weights + query + 2 * keyed + f.hidden
    return weights + (query + 2 * keyed if qkv_bias else 0)


def _gated_mlp(c: Values, f: ModelFacts) -> int:
    bias = 2 * f.intermediate + f.hidden if c.get("mlp_bias") else 0
    return 3 * f.hidden * f.intermediate + bias


def _two_matrix_mlp(f: ModelFacts, *, bias: bool = True) -> int:
    return 2 * f.hidden * f.intermediate + (f.intermediate + f.hidden if bias else 0)


def _embedding_and_head(f: ModelFacts) -> int:
    return f.vocab * f.hidden * (1 if f.tied else 2)


def _rms_decoder(
    c: Values, f: ModelFacts, *, qkv_bias: bool = False, norms: int = 2, head_norms: int = 0
) -> int:
    """A Llama or one of its kin: norms that only scale, a gated MLP.

    `norms` are the vectors of hidden size per layer, `head_norms` those of head size (on queries and keys).
    """
    layer = _attention(c, f, qkv_bias=qkv_bias) + _gated_mlp(c, f)
    layer += norms * f.hidden + head_norms * f.head_dim
    return _embedding_and_head(f) + f.layers * layer + f.hidden


def _llama(c: Values, f: ModelFacts) -> int:
    return _rms_decoder(c, f)


def _qwen2(c: Values, f: ModelFacts) -> int:
    return _rms_decoder(c, f, qkv_bias=True)


def _qwen3(c: Values, f: ModelFacts) -> int:
    return _rms_decoder(c, f, head_norms=2)


def _gemma2(c: Values, f: ModelFacts) -> int:
    return _rms_decoder(c, f, norms=4)


def _gemma3(c: Values, f: ModelFacts) -> int:
    return _rms_decoder(c, f, norms=4, head_norms=2)


def _cohere(c: Values, f: ModelFacts) -> int:
    """Attention and MLP side by side behind one norm; a norm of its own for each head where there are any."""
    head_norms = f.heads + f.kv_heads if c.get("use_qk_norm") else 0
    return _rms_decoder(c, f, norms=1, head_norms=head_norms)


def _mixtral(c: Values, f: ModelFacts) -> int:
    """All experts of every layer, and the router that chooses among them."""
    experts: int = c["num_local_experts"]
    layer = _attention(c, f) + experts * (_gated_mlp(c, f) + f.hidden) + 2 * f.hidden
    return _embedding_and_head(f) + f.layers * layer + f.hidden


# The families below have layer norms, which scale and shift: two vectors each.


def _gpt2(c: Values, f: ModelFacts) -> int:
    """Learned positions; biases everywhere but on the head."""
    layer = _attention({**c, "attention_bias": True}, f) + _two_matrix_mlp(f) + 4 * f.hidden
    positions = (f.context or 0) * f.hidden
    return _embedding_and_head(f) + positions + f.layers * layer + 2 * f.hidden


def _opt(c: Values, f: ModelFacts) -> int:
    """Learned positions, two of them before the first token; embedding and head may be narrower than the
    rest, with a projection into it and one out of it."""
    bias, narrow = c["enable_bias"], c["word_embed_proj_dim"] or f.hidden
    norm = 2 * f.hidden if c["layer_norm_elementwise_affine"] else 0
    layer = _attention({**c, "attention_bias": bias}, f) + _two_matrix_mlp(f, bias=bias) + 2 * norm
    tables = f.vocab * narrow * (1 if f.tied else 2) + ((f.context or 0) + 2) * f.hidden
    projections = 2 * narrow * f.hidden if narrow != f.hidden else 0
    last_norm = norm if c["do_layer_norm_before"] and not c["_remove_final_layer_norm"] else 0
    return tables + projections + f.layers * layer + last_norm


def _gpt_neox(c: Values, f: ModelFacts) -> int:
    layer = _attention(c, f) + _two_matrix_mlp(f) + 4 * f.hidden
    return _embedding_and_head(f) + f.layers * layer + 2 * f.hidden


def _falcon(c: Values, f: ModelFacts) -> int:
    """One norm a layer where attention and MLP stand side by side, two where they don't, or in the newer
    layers, which have one each."""
    beside = c["num_ln_in_parallel_attn"] or (2 if c["new_decoder_architecture"] else 1)
    norms = 2 if not c["parallel_attn"] or beside == 2 else 1
    attention = _attention({**c, "attention_bias": c["bias"]}, f)
    layer = attention + _two_matrix_mlp(f, bias=c["bias"]) + norms * 2 * f.hidden
    return _embedding_and_head(f) + f.layers * layer + 2 * f.hidden


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
}
_FALCON_OWN = {
    "new_decoder_architecture": False,
    "multi_query": True,
    "parallel_attn": True,
    "bias": False,
    "num_ln_in_parallel_attn": None,
}
_GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "n_inner": "intermediate_size",
}

COUNTED: dict[str, Counted] = {
    "llama": Counted(_llama, _sizes(32000, 4096, 11008, 32, 32, None, None, 2048, False)),
    "mistral": Counted(_llama, _sizes(32000, 4096, 14336, 32, 32, 8, None, 131072, False)),
    "granite": Counted(_llama, _sizes(32000, 4096, 11008, 32, 32, None, None, 2048, False)),
    "phi3": Counted(_llama, _sizes(32064, 3072, 8192, 32, 32, None, None, 4096, False)),
    "qwen2": Counted(_qwen2, _sizes(151936, 4096, 22016, 32, 32, 32, None, 32768, False)),
    "qwen3": Counted(_qwen3, _sizes(151936, 4096, 22016, 32, 32, 32, 128, 32768, False)),
    "gemma2": Counted(_gemma2, _sizes(256000, 2304, 9216, 26, 8, 4, 256, 8192, True)),
    "gemma3_text": Counted(_gemma3, _sizes(262208, 2304, 9216, 26, 8, 4, 256, 131072, True)),
    "cohere": Counted(_cohere, _sizes(256000, 8192, 22528, 40, 64, None, None, 8192, True)),
    "mixtral": Counted(
        _mixtral, _sizes(32000, 4096, 14336, 32, 32, 8, None, 131072, False, num_local_experts=8)
    ),
    "gpt2": Counted(_gpt2, _sizes(50257, 768, None, 12, 12, None, None, 1024, True), _GPT2_NAMES),
    "opt": Counted(
        _opt,
        _sizes(50272, 768, 3072, 12, 12, None, None, 2048, True, **_OPT_OWN),
        {"ffn_dim": "intermediate_size"},
    ),
    "gpt_neox": Counted(
        _gpt_neox, _sizes(50432, 6144, 24576, 44, 64, None, None, 2048, False, attention_bias=True)
    ),
    "falcon": Counted(
        _falcon,
        _sizes(65024, 4544, None, 32, 71, None, None, 2048, True, **_FALCON_OWN),
        {"ffn_hidden_size": "intermediate_size", "n_embed": "hidden_size"},
        _falcon_kv_heads,
    ),
}
