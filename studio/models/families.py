"""The only place that knows architectures: where a model keeps its parts, and how hidden states become
logits.

A family is one line of data in `FAMILIES`, keyed by the `model_type` of the configuration. Any other decoder
that transformers has is taken apart once it is loaded (`studio.models.located`); what its configuration tells
to be none is refused before anything is fetched or started. No torch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.models.pictures import has_towers


@dataclass(frozen=True)
class Family:
    """Paths from the language model's root to its parts, and what happens to the logits.

    `multiply` and `divide` name the configuration's factor on the logits, `softcap` the bound of
    `cap * tanh(logits / cap)`. `router_loss` is the model code's balancing loss for mixtures of experts.
    """

    decoder: str = "model"
    embeddings: str = "embed_tokens"
    layers: str = "layers"
    norm: str = "norm"
    head: str = "lm_head"
    multiply: str | None = None
    divide: str | None = None
    softcap: str | None = None
    router_loss: str | None = None


_LLAMA = Family()
_GEMMA = Family(softcap="final_logit_softcapping")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _LLAMA,
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "gemma3": Family(decoder="model.language_model"),  # transformers caps nothing here
    "gpt2": Family(decoder="transformer", embeddings="wte", layers="h", norm="ln_f"),
    "opt": Family(decoder="model.decoder", norm="final_layer_norm"),
    "gpt_neox": Family(decoder="gpt_neox", embeddings="embed_in", norm="final_layer_norm"),
    "falcon": Family(decoder="transformer", embeddings="word_embeddings", layers="h", norm="ln_f"),
    "cohere": Family(multiply="logit_scale"),
    "granite": Family(divide="logits_scaling"),
    "mixtral": Family(router_loss="transformers.models.mixtral.modeling_mixtral:load_balancing_loss_func"),
}


# What RWKV and linear attention call so looks back through a state, and has no keys that a cache could hold.
WITHOUT_ATTENTION = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"})
# In some of their layers.
_PARTLY_WITHOUT = frozenset(
    {
        *("bailing_hybrid", "bamba", "falcon_h1", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "lfm3"),
        *("minimax", "nemotron_h", "olmo_hybrid", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
        *("qwen4_exp_text", "recurrent_gemma", "zamba", "zamba2"),
    }
)
_STATES = frozenset({"conv", "linear_attention", "mamba", "mamba2", "recurrent"})


def refusal(config: Mapping[str, Any]) -> StudioError | None:
    """Why a config.json can't be that of a decoder that can be tuned: `architecture_without_attention`
    (architecture) where layers have none, `architecture_unknown` (architecture, known) where transformers has
    no such language model, or where it sees or hears too."""
    model_type = config.get("model_type")
    states = not _STATES.isdisjoint(config.get("layer_types") or ())
    if states or model_type in WITHOUT_ATTENTION | _PARTLY_WITHOUT:
        return StudioError("architecture_without_attention", architecture=model_type)
    reads_only = "text_config" not in config and not has_towers(config)
    if model_type in FAMILIES or (reads_only and model_type in language_models()):
        return None
    return StudioError("architecture_unknown", architecture=model_type, known=sorted(FAMILIES))


def require_decoder(config: Mapping[str, Any]) -> None:
    """Raise the `refusal` of a config.json, if there is one."""
    if refused := refusal(config):
        raise refused


@cache
def language_models() -> frozenset[str]:
    """The model types that transformers has a language model for: the keys of its own table, read from its
    source, since importing that takes torch."""
    package = find_spec("transformers")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "models" / "auto" / "modeling_auto.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == _TABLE:
            assert isinstance(node.value, ast.Call)
            return frozenset(dict(ast.literal_eval(node.value.args[0])))
    raise LookupError(_TABLE)


_TABLE = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
