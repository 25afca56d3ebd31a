"""The only place that knows architectures: where a model keeps its parts, and how hidden states become
logits.

A family is one line of data in `FAMILIES`, keyed by the `model_type` of the configuration. What stands here
can be tuned; a model of any other family is refused before anything is fetched or started. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from studio.errors import StudioError


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


# What RWKV calls so looks back through a state, and has no keys that a cache could hold.
WITHOUT_ATTENTION = ("falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm")


def family_of(model_type: str | None) -> Family:
    """The family; `StudioError("architecture_unknown")` (architecture, known) for one that is not known, and
    `architecture_without_attention` (architecture) where that is why."""
    if model_type in WITHOUT_ATTENTION:
        raise StudioError("architecture_without_attention", architecture=model_type)
    if model_type not in FAMILIES:
        raise StudioError("architecture_unknown", architecture=model_type, known=sorted(FAMILIES))
    return FAMILIES[model_type]
