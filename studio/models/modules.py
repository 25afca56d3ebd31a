"""The modules with weights of their own in a known family's text model, by path: what a method's settings may
name. From its sizes alone; tests compare it with what transformers builds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from studio.models.families import FAMILIES, Family
from studio.models.forms import Form, form_of, linear_path, linear_sizes
from studio.models.surveyed import Shape
from studio.models.weights import Whole, experts_of, head_norm, norm_of

Kind = Literal["table", "head", "linear", "rest"]


class Towers(Whole, Protocol):
    """The sizes of a model, and what else is loaded beside its text."""

    @property
    def beside(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Module:
    """A module by its path from the model's root. `layer` and `role` are set inside decoder layers and of
    linear layers there; `shapes` are those of its weights."""

    path: str
    kind: Kind
    shapes: tuple[Shape, ...]
    layer: int | None = None
    role: str | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]

    @property
    def packed(self) -> bool:
        """Whether a base in 4 bit holds it in 4 bit."""
        return self.kind == "linear"


def named(path: str, name: str) -> bool:
    """Whether a name means the module at a path: the whole of it, or its end, as peft has it."""
    return path == name or path.endswith(f".{name}")


def unknown_names(names: Iterable[str], modules: Iterable[Module]) -> list[str]:
    """Those that mean none of the modules."""
    paths = [module.path for module in modules]
    return [name for name in names if not any(named(path, name) for path in paths)]


def last_names(modules: Iterable[Module]) -> list[str]:
    """The last parts of their paths, each once, in order."""
    return list(dict.fromkeys(module.name for module in modules))


def is_known(d: Towers) -> bool:
    """Whether the names of its linear layers are more than a guess."""
    return d.survey is not None or _family(d) is not None


def linears_of(d: Towers) -> list[Module]:
    """The linear layers inside the decoder layers. Where the family is not known the paths are short, and
    without a survey a guess."""
    family = _family(d)
    prefix = f"{family.decoder}.{family.layers}" if family else "layers"
    biased = form_of(d).biased
    layer = [
        (role, linear_path(d, role), ((outputs, inputs), *([(outputs,)] if role in biased else [])))
        for role, (inputs, outputs) in linear_sizes(d).items()
    ]
    return [
        Module(f"{prefix}.{number}.{path}", "linear", shapes, number, role)
        for number in range(d.layers)
        for role, path, shapes in layer
    ]


def modules_of(d: Towers) -> list[Module] | None:
    """All of them; None where the model's family is not known."""
    family = _family(d)
    if family is None:
        return None
    form, decoder = form_of(d), f"{family.decoder}."
    table = (d.vocab, d.own.get("word_embed_proj_dim") or d.hidden)
    out = [Module(decoder + family.embeddings, "table", (table,)), *_around(d, form, family)]
    out += linears_of(d)
    for number in range(d.layers):
        prefix = f"{decoder}{family.layers}.{number}."
        out += [Module(prefix + path, "rest", shapes, number) for path, shapes in _in_layer(d, form)]
    return [*out, Module(family.head, "head", (table,))]


def _family(d: Towers) -> Family | None:
    if d.survey is not None:
        return None
    # A model with another tower says of itself what its text tower is.
    beside = d.model_type == "gemma3_text" and d.beside != (0, 0)
    return FAMILIES.get("gemma3" if beside else d.model_type)


def _around(d: Towers, form: Form, family: Family) -> Iterator[Module]:
    decoder = f"{family.decoder}."
    if form.positions is not None:
        shape = ((d.context or 0) + form.positions, d.hidden)
        yield Module(decoder + _POSITIONS.get(d.model_type, "wpe"), "rest", (shape,))
    narrow = d.own.get("word_embed_proj_dim") or d.hidden
    if narrow != d.hidden:
        yield Module(f"{decoder}project_in", "linear", ((d.hidden, narrow),))
        yield Module(f"{decoder}project_out", "linear", ((narrow, d.hidden),))
    if form.last_norm and (shapes := norm_of(d, form)):
        yield Module(decoder + family.norm, "rest", shapes)


_POSITIONS = {"opt": "embed_positions"}
_USUAL_NORMS = ("input_layernorm", "post_attention_layernorm")
_SANDWICH = (*_USUAL_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
_NORMS: Mapping[str, tuple[str, ...]] = {
    "gpt2": ("ln_1", "ln_2"),
    "opt": ("self_attn_layer_norm", "final_layer_norm"),
}


def _in_layer(d: Towers, form: Form) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    """Path within a decoder layer and shapes of all that is no linear layer."""
    for part in form.head_norms:
        yield f"self_attn.{part[0]}_norm", (head_norm(d, form, part),)
    if experts := experts_of(d, form):
        router, *held = experts
        yield "mlp.gate", (router,)
        yield "mlp.experts", tuple(held)
    if shapes := norm_of(d, form):
        for name in _norm_names(d.model_type, form):
            yield name, shapes


def _norm_names(model_type: str, form: Form) -> tuple[str, ...]:
    if form.sandwich:
        return _SANDWICH
    if model_type == "falcon" and form.parallel and form.norms == 2:
        return "ln_attn", "ln_mlp"
    return _NORMS.get(model_type, _USUAL_NORMS)[: form.norms]
