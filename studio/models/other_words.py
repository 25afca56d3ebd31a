"""Configs of known layers in other words: model types whose program came with their weights, older names,
and the text part of models that see.

Such a model is estimated as the family that has the same matrices. It can't be tuned: no program from a
model's folder is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Any]

# Under this key a config in a known family's words keeps the type of a model that only has its matrices.
ALIKE = "alike_model_type"


@dataclass(frozen=True)
class Words:
    """How a `model_type` says what the family `known` says: `names` translates keys, `always` is what its
    config leaves unsaid, `derived` what follows from the rest. `needs` and `only` tell it from others of the
    same type: keys that must be there, and what may not be said otherwise. `own` is whether its program is
    none of transformers'."""

    known: str
    names: Mapping[str, str] = field(default_factory=dict)
    always: Values = field(default_factory=dict)
    derived: Callable[[Values], Values] = lambda _: {}
    needs: frozenset[str] = frozenset()
    only: Values = field(default_factory=dict)
    own: bool = True

    def fit(self, text: Values) -> bool:
        """Whether a config is of the form that is meant."""
        return self.needs <= set(text) and all(
            text.get(key, value) == value for key, value in self.only.items()
        )


def _every_head(text: Values) -> Values:
    """Keys and values have as many heads as queries."""
    return {"num_key_value_heads": text.get("num_attention_heads", text.get("n_head"))}


def _qwen(text: Values) -> Values:
    """Its width counts gate and up together."""
    wide = text.get("intermediate_size", text.get("ffn_hidden_size"))
    return {**_every_head(text), **({"intermediate_size": wide // 2} if wide else {})}


def _chatglm(text: Values) -> Values:
    grouped = text.get("multi_query_attention")
    return {} if grouped else {"num_key_value_heads": text.get("num_attention_heads")}


_GPT_NAMES = {"n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_embed": "hidden_size"}
_QWEN_VL = Words("qwen2", own=False)

OTHER_WORDS: dict[str, Words] = {
    "baichuan": Words("llama", {"model_max_length": "max_position_embeddings"}),
    "internlm": Words("llama", {"bias": "attention_bias"}),
    "internlm2": Words("llama", {"bias": "attention_bias"}),
    "Yi": Words("llama"),
    "qwen": Words(
        "qwen2",
        {
            "n_embd": "hidden_size",
            "n_layer": "num_hidden_layers",
            "n_head": "num_attention_heads",
            "padded_vocab_size": "vocab_size",
            "kv_channels": "head_dim",
            "n_positions": "max_position_embeddings",
            "seq_length": "max_position_embeddings",
        },
        derived=_qwen,
        only={"no_bias": True},
    ),
    "chatglm": Words(  # of ChatGLM2 on
        "qwen2",
        {
            "num_layers": "num_hidden_layers",
            "padded_vocab_size": "vocab_size",
            "ffn_hidden_size": "intermediate_size",
            "multi_query_group_num": "num_key_value_heads",
            "kv_channels": "head_dim",
            "seq_length": "max_position_embeddings",
        },
        derived=_chatglm,
        needs=frozenset({"padded_vocab_size"}),
        only={"add_bias_linear": False, "add_qkv_bias": True, "rmsnorm": True, "post_layer_norm": True},
    ),
    "RefinedWebModel": Words("falcon", _GPT_NAMES, own=False),
    "RefinedWeb": Words(
        "falcon", {**_GPT_NAMES, "n_head_kv": "num_kv_heads"}, {"new_decoder_architecture": True}, own=False
    ),
    "qwen2_vl": _QWEN_VL,
    "qwen2_vl_text": _QWEN_VL,
    "qwen2_5_vl": _QWEN_VL,
    "qwen2_5_vl_text": _QWEN_VL,
}

# The families whose models say in `architectures` what they are, where `model_type` is missing.
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "GraniteForCausalLM": "granite",
    "Phi3ForCausalLM": "phi3",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
    "CohereForCausalLM": "cohere",
    "MixtralForCausalLM": "mixtral",
    "GPT2LMHeadModel": "gpt2",
    "OPTForCausalLM": "opt",
    "GPTNeoXForCausalLM": "gpt_neox",
    "FalconForCausalLM": "falcon",
}


def type_by_architecture(config: Values) -> str | None:
    """The `model_type` that the class named by a config.json has; None where that is not one of these."""
    names = config.get("architectures") or [None]
    return ARCHITECTURES.get(names[0])


def words_of(model_type: str, text: Values) -> Words | None:
    """How to read a config of this type that says `text`; None where that is not known, or not needed."""
    words = OTHER_WORDS.get(model_type)
    return words if words and words.fit(text) else None


def in_known_words(words: Words, text: Values) -> dict[str, Any]:
    """A config in the words of the family that has the same matrices."""
    renamed = {words.names.get(key, key): value for key, value in text.items() if value is not None}
    alike = {ALIKE: text.get("model_type")} if words.own else {}
    return {**renamed, **words.always, **words.derived(text), **alike, "model_type": words.known}
