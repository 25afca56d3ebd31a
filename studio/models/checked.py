"""What a config.json may hold: sizes that are whole numbers, whole weights, a model that writes text. All
that reads one goes through here first, the estimate and the loader alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from studio.errors import StudioError

Values = Mapping[str, Any]

SIZES = frozenset(
    {
        *("vocab_size", "padded_vocab_size", "hidden_size", "d_model", "n_embd", "n_embed"),
        *("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "moe_intermediate_size"),
        *("num_hidden_layers", "num_layers", "n_layer", "n_layers"),
        *("num_attention_heads", "num_heads", "n_head", "n_heads"),
        *("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
        *("head_dim", "kv_channels", "word_embed_proj_dim", "num_experts_per_tok", "top_k_experts"),
        *("max_position_embeddings", "n_positions", "seq_length", "model_max_length"),
        *("image_size", "patch_size", "num_channels"),  # of a tower for pictures
    }
)
# Zero says that there are none.
_OR_NONE = frozenset({"num_local_experts", "num_experts", "sliding_window", "max_window_layers"})
# Models that read text from both sides: they fill gaps or compare texts.
_ENCODERS = frozenset(
    {
        *("bert", "roberta", "distilbert", "albert", "electra", "camembert", "xlm-roberta", "xlm-roberta-xl"),
        *("deberta", "deberta-v2", "mpnet", "modernbert", "nomic_bert", "roformer", "longformer", "big_bird"),
        *("squeezebert", "mobilebert", "megatron-bert", "ernie", "nezha", "funnel", "layoutlm", "esm"),
        *("bert-generation", "data2vec-text", "rembert", "roberta-prelayernorm", "roc_bert", "xmod", "xlm"),
    }
)
_ENCODER_DECODERS = frozenset(
    {
        *("t5", "mt5", "umt5", "longt5", "bart", "mbart", "pegasus", "marian", "led", "m2m_100"),
        *("blenderbot", "bigbird_pegasus", "blenderbot-small", "mvp", "plbart", "prophetnet", "trocr"),
        *("whisper", "musicgen", "musicgen_melody"),
    }
)


def refuse_unreadable(config: Values, where: str) -> None:
    """Raise StudioError `model_quantised` where the weights were rounded when they were saved, and
    `model_not_causal` for an encoder."""
    if quantised := saved_quantisation(config):
        raise StudioError("model_quantised", path=where, quantisation=quantised)
    kind = str(config.get("model_type", ""))
    encodes = kind in _ENCODERS and not config.get("is_decoder")
    if encodes or kind in _ENCODER_DECODERS or config.get("is_encoder_decoder"):
        names = config.get("architectures") or [kind]
        raise StudioError("model_not_causal", path=where, architecture=names[0])


def saved_quantisation(config: Values) -> str | None:
    """How the weights of a checkpoint were quantised, as its config.json says; None where they were not."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            if isinstance(found := part.get(key), Mapping) and found:
                return _name(found)
    return None


def _name(found: Values) -> str:
    in_4, in_8 = found.get("load_in_4bit"), found.get("load_in_8bit")
    method = found.get("quant_method") or ("bitsandbytes" if in_4 or in_8 else found.get("format"))
    bits = 4 if in_4 else 8 if in_8 else found.get("bits", found.get("w_bit"))
    said = [str(method)] if method else []
    return ", ".join([*said, *([f"{bits} bit"] if bits else [])]) or "quantised"


def whole_sizes(text: Values, where: str, listed: bool = False, strict: bool = False) -> dict[str, Any]:
    """The part of a config.json with its sizes as whole numbers; `4096.0` is one, `"4096"` is not.

    `listed`: a size may be a list, one for each layer. `strict`: without the point, as transformers wants it
    where the model is loaded. Raises StudioError `model_config_size`, which names
    the field and what it says.
    """
    return {
        key: _whole(key, value, where, strict)
        if key in SIZES | _OR_NONE and value is not None and not (listed and isinstance(value, list))
        else value
        for key, value in text.items()
    }


def _whole(key: str, value: Any, where: str, strict: bool) -> int:
    least = 0 if key in _OR_NONE else 1
    number = isinstance(value, int if strict else int | float) and not isinstance(value, bool)
    if not number or value != value // 1 or value < least:  # what is no number is not itself
        said = json.dumps(value)
        raise StudioError("model_config_size", path=where, field=key, value=said, least=least)
    return int(value)


def refuse_unloadable(config: Values, where: str) -> None:
    """As `refuse_unreadable`, and StudioError `model_config_size` where transformers would stop at a size."""
    refuse_unreadable(config, where)
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        whole_sizes(part, where, listed=True, strict=True)
