"""How the decoder layers of known families are built, as data that their memory is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from studio.models.surveyed import Survey


class Sizes(Protocol):
    """The sizes that the linear layers of a decoder layer follow from. `own` are the further values of the
    family's config.json that decide how a layer is built, `survey` what was found of a family that is not
    known."""

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
    @property
    def own(self) -> Mapping[str, Any]: ...
    @property
    def survey(self) -> Survey | None: ...


_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "qkv", "o_proj"})
_MLP = frozenset({"gate_proj", "up_proj", "gate_up", "down_proj"})
_QKV = frozenset({"q_proj", "k_proj", "v_proj"})
ROLES = _ATTENTION | _MLP  # of the linear layers that a decoder layer is computed with


@dataclass(frozen=True)
class Form:
    """What distinguishes a family's decoder layer.

    `norm`: `rms` (Llama), `gemma` (RMS in 32 bit), `wide` (so too, with a weight that counts from zero),
    `layer`, `wide_layer` (in 32 bit), `cohere`. `mlp`: `gated`, `fused` (gate and up in one matrix), `plain`,
    `experts`, with a gated MLP of width `shared_expert` beside them. `parallel`: attention and MLP read the
    same residual.
    `sandwich`: norms of what both made as well; `bare`: of nothing else; `after`: of the sums. `norms`: how
    many a layer has. `eager`: attention is written out always. `head_norms`: of `query` and `key`.
    `fused_qkv`: one matrix makes all three, taken out of its result at once or each for itself.
    `partial`: the rotation is put together with what it leaves out; `turned` is the share of a head that is
    rotated. `scaled`: factors on residuals. `biased`: roles of the linear layers that have a bias.
    `positions`: rows of a learned table before the first position, None without such a table. `shared`: how
    Falcon's keys and values reach all heads, by the attention's `product` or as `copies`. `masks`: what its
    attention is told of which positions see which, where others rely on their order. `dropped`: dropout
    before each residual; `dropped_scores`: inside attention.
    """

    norm: str = "rms"
    mlp: str = "gated"
    shared_expert: int = 0
    activation: str = "kernel"
    parallel: bool = False
    one_norm: bool = False
    sandwich: bool = False
    bare: bool = False
    after: bool = False
    norms: int = 2
    last_norm: bool = True
    head_norms: tuple[str, ...] = ()
    fused_qkv: Literal["split", "slices"] | None = None
    rope: bool = True
    partial: bool = False
    turned: float = 1.0
    capped: bool = False
    eager: bool = False
    scaled: bool = False
    scaled_query: bool = False
    biased: frozenset[str] = frozenset()
    positions: int | None = None
    shared: Literal["product", "copies"] | None = None
    masks: Literal["true", "distances"] | None = None
    dropped: bool = False
    dropped_scores: bool = False


_LLAMA = Form()
_BOTH = ("query", "key")
_GEMMA3 = Form(norm="gemma", sandwich=True, norms=4, head_norms=_BOTH)
FORMS: dict[str, Form] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Form(biased=_QKV),
    "qwen3": Form(head_norms=_BOTH),
    "phi3": Form(mlp="fused", fused_qkv="slices", partial=True),
    "gemma2": Form(norm="gemma", sandwich=True, norms=4, capped=True),
    "gemma3_text": _GEMMA3,
    "gemma3": _GEMMA3,
    "granite": Form(scaled=True),
    "cohere": Form(norm="cohere", parallel=True, one_norm=True, norms=1),
    "mixtral": Form(mlp="experts"),
    "gpt2": Form(
        norm="layer",
        mlp="plain",
        activation="gelu_new",
        fused_qkv="split",
        rope=False,
        biased=_ATTENTION | _MLP,
        positions=0,
    ),
    "opt": Form(norm="layer", mlp="plain", activation="output", rope=False, scaled_query=True, positions=2),
    "gpt_neox": Form(norm="layer", mlp="plain", fused_qkv="split", partial=True, biased=_MLP),
    "falcon": Form(norm="layer", mlp="plain", fused_qkv="slices"),
}


def _gpt2(form: Form, own: Mapping[str, Any]) -> Form:
    return replace(form, dropped=own["resid_pdrop"] > 0, dropped_scores=own["attn_pdrop"] > 0)


def _opt(form: Form, own: Mapping[str, Any]) -> Form:
    before = own["do_layer_norm_before"]
    return replace(
        form,
        after=not before,
        last_norm=before and not own["_remove_final_layer_norm"],
        biased=_ATTENTION | _MLP if own["enable_bias"] else frozenset(),
        dropped=own["dropout"] > 0,
    )


def _gpt_neox(form: Form, own: Mapping[str, Any]) -> Form:
    return replace(
        form, parallel=own.get("use_parallel_residual", True), turned=_turned(own, "rotary_pct", 0.25)
    )


def _phi3(form: Form, own: Mapping[str, Any]) -> Form:
    return replace(form, turned=_turned(own, "partial_rotary_factor", 1.0))


def _turned(own: Mapping[str, Any], name: str, usual: float) -> float:
    rope: Mapping[str, Any] = own.get("rope_parameters") or own.get("rope_scaling") or {}
    share: float = rope.get("partial_rotary_factor", own.get(name, usual))
    return share


def _cohere(form: Form, own: Mapping[str, Any]) -> Form:
    return replace(form, head_norms=_BOTH) if own.get("use_qk_norm") else form


def _falcon(form: Form, own: Mapping[str, Any]) -> Form:
    """One norm a layer where attention and MLP stand side by side, two where they don't, or in the newer
    layers, which have one each."""
    newer = own["new_decoder_architecture"]
    two = (own["num_ln_in_parallel_attn"] or (2 if newer else 1)) == 2
    parallel = own["parallel_attn"]
    return replace(
        form,
        parallel=parallel,
        one_norm=parallel and not (newer and two),
        norms=2 if two or not parallel else 1,
        biased=_ATTENTION | _MLP if own["bias"] else frozenset(),
        rope=not own["alibi"],
        masks="distances" if own["alibi"] else "true",
        shared="copies" if newer else "product" if own["multi_query"] else None,
    )


_OWN: dict[str, Callable[[Form, Mapping[str, Any]], Form]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "gpt_neox": _gpt_neox,
    "phi3": _phi3,
    "cohere": _cohere,
    "falcon": _falcon,
}
# Paths of the linear layers within a decoder layer by role: Llama's, and those of families that have others.
_USUAL: Mapping[str, str] = {
    **{role: f"self_attn.{role}" for role in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{role: f"mlp.{role}" for role in ("gate_proj", "up_proj", "down_proj")},
}
PATHS: dict[str, Mapping[str, str]] = {
    "gpt2": {"qkv": "attn.c_attn", "o_proj": "attn.c_proj", "up_proj": "mlp.c_fc", "down_proj": "mlp.c_proj"},
    "opt": {"o_proj": "self_attn.out_proj", "up_proj": "fc1", "down_proj": "fc2"},
    "phi3": {"qkv": "self_attn.qkv_proj", "gate_up": "mlp.gate_up_proj"},
    "gpt_neox": {
        "qkv": "attention.query_key_value",
        "o_proj": "attention.dense",
        "up_proj": "mlp.dense_h_to_4h",
        "down_proj": "mlp.dense_4h_to_h",
    },
}
PATHS["falcon"] = dict(PATHS["gpt_neox"]) | {
    "qkv": "self_attention.query_key_value",
    "o_proj": "self_attention.dense",
}


def form_of(d: Sizes) -> Form:
    """The form of a model's layers; Llama's for a family that is neither known nor surveyed."""
    if d.survey:
        return d.survey.form
    form = FORMS.get(d.model_type, _LLAMA)
    if d.model_type in _OWN:
        form = _OWN[d.model_type](form, d.own)
    biased = form.biased
    if d.own.get("attention_bias"):
        biased |= _ATTENTION
    if d.own.get("mlp_bias"):
        biased |= _MLP
    return form if biased == form.biased else replace(form, biased=biased)


def linear_path(d: Sizes, role: str) -> str:
    """Where a family keeps the linear layer with this role within a decoder layer; of a surveyed model its
    name alone."""
    if d.survey:
        return next((linear.name for linear in d.survey.linears if linear.role == role), role)
    return PATHS.get(d.model_type, {}).get(role, _USUAL.get(role, role))


def linear_name(d: Sizes, role: str) -> str:
    """What a family calls the linear layer with this role."""
    return linear_path(d, role).rpartition(".")[2]


def linears(d: Sizes) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of each linear layer of one decoder layer."""
    return [(linear_name(d, role), *size) for role, size in linear_sizes(d).items()]


def linear_sizes(d: Sizes) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of each linear layer of one decoder layer, by role."""
    if d.survey:
        return {linear.role: (linear.inputs, linear.outputs) for linear in d.survey.linears}
    form = form_of(d)
    query, keyed = d.heads * d.head_dim, d.kv_heads * d.head_dim
    if form.fused_qkv:
        attention = {"qkv": (d.hidden, query + 2 * keyed)}
    else:
        attention = {"q_proj": (d.hidden, query), "k_proj": (d.hidden, keyed), "v_proj": (d.hidden, keyed)}
    attention["o_proj"] = (query, d.hidden)
    wide, down = (d.hidden, d.intermediate), {"down_proj": (d.intermediate, d.hidden)}
    mlp: dict[str, tuple[int, int]] = {
        "gated": {"gate_proj": wide, "up_proj": wide} | down,
        "fused": {"gate_up": (d.hidden, 2 * d.intermediate)} | down,
        "plain": {"up_proj": wide} | down,
        "experts": {},  # experts are tensors of their own, not linear layers
    }[form.mlp]
    return attention | mlp
