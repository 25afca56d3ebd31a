"""How the decoder layers of known families are built, as data that their memory is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Sizes(Protocol):
    """The sizes that the linear layers of a decoder layer follow from."""

    @property
    def model_type(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def intermediate(self) -> int: ...


@dataclass(frozen=True)
class Form:
    """What distinguishes a family's decoder layer.

    `norm`: `rms` (Llama), `gemma` (RMS in 32 bit), `layer`, `cohere`. `mlp`: `gated`, `fused` (gate and up in
    one matrix), `plain`. `parallel`: attention and MLP read the same residual. `sandwich`: norms after both
    as well. `head_norms`: queries and keys are normalised. `fused_qkv`: one matrix makes all three.
    `partial`: the rotation is put together with what it leaves out. `scaled`: factors on residuals.
    `dropped`: dropout before each residual.
    """

    norm: str = "rms"
    mlp: str = "gated"
    activation: str = "kernel"
    parallel: bool = False
    one_norm: bool = False
    sandwich: bool = False
    head_norms: bool = False
    fused_qkv: bool = False
    rope: bool = True
    partial: bool = False
    capped: bool = False
    scaled: bool = False
    scaled_query: bool = False
    dropped: bool = False


_LLAMA = Form()
FORMS: dict[str, Form] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": Form(head_norms=True),
    "phi3": Form(mlp="fused", fused_qkv=True, partial=True),
    "gemma2": Form(norm="gemma", sandwich=True, capped=True),
    "gemma3_text": Form(norm="gemma", sandwich=True, head_norms=True),
    "gemma3": Form(norm="gemma", sandwich=True, head_norms=True),
    "granite": Form(scaled=True),
    "cohere": Form(norm="cohere", parallel=True, one_norm=True),
    "gpt2": Form(norm="layer", mlp="plain", activation="gelu_new", fused_qkv=True, rope=False),
    "opt": Form(norm="layer", mlp="plain", activation="output", rope=False, scaled_query=True),
    "gpt_neox": Form(norm="layer", mlp="plain", parallel=True, fused_qkv=True, partial=True),
    "falcon": Form(norm="layer", mlp="plain", parallel=True, one_norm=True, fused_qkv=True),
}
# Names of the linear layers by role, for families that have others than Llama's.
ROLES: dict[str, Mapping[str, str]] = {
    "gpt2": {"qkv": "c_attn", "o_proj": "c_proj", "up_proj": "c_fc", "down_proj": "c_proj"},
    "opt": {"o_proj": "out_proj", "up_proj": "fc1", "down_proj": "fc2"},
    "phi3": {"qkv": "qkv_proj", "gate_up": "gate_up_proj"},
    "gpt_neox": {
        "qkv": "query_key_value",
        "o_proj": "dense",
        "up_proj": "dense_h_to_4h",
        "down_proj": "dense_4h_to_h",
    },
}
ROLES["falcon"] = ROLES["gpt_neox"]


def form_of(model_type: str) -> Form:
    """The family's form; Llama's for one that is not known."""
    return FORMS.get(model_type, _LLAMA)


def linear_name(model_type: str, role: str) -> str:
    """What a family calls the linear layer with this role."""
    return ROLES.get(model_type, {}).get(role, role)


def linears(d: Sizes) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of each linear layer of one decoder layer."""
    form = form_of(d.model_type)
    query, keyed = d.heads * d.head_dim, d.kv_heads * d.head_dim
    if form.fused_qkv:
        attention = [("qkv", d.hidden, query + 2 * keyed)]
    else:
        attention = [("q_proj", d.hidden, query), ("k_proj", d.hidden, keyed), ("v_proj", d.hidden, keyed)]
    up = {
        "gated": [("gate_proj", d.hidden, d.intermediate), ("up_proj", d.hidden, d.intermediate)],
        "fused": [("gate_up", d.hidden, 2 * d.intermediate)],
        "plain": [("up_proj", d.hidden, d.intermediate)],
    }[form.mlp]
    rest = [("o_proj", query, d.hidden), *up, ("down_proj", d.intermediate, d.hidden)]
    return [(linear_name(d.model_type, role), a, b) for role, a, b in (*attention, *rest)]
