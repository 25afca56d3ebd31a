"""Every weight of a known family by shape, from its sizes alone: what parameter counts and full tuning's
gradients follow from. Tests compare it with what transformers builds on torch's meta device."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

from studio.models.forms import Form, Sizes, form_of, linear_sizes
from studio.models.surveyed import Shape, Survey


class Whole(Sizes, Protocol):
    """The sizes of a whole model."""

    @property
    def layers(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def context(self) -> int | None: ...
    @property
    def tied(self) -> bool: ...


@dataclass(frozen=True)
class Weights:
    """Shapes of the token table, of the head (nothing where it is the table itself), of one decoder layer,
    and of what stands around the layers: positions, projections, the last norm."""

    embeddings: tuple[Shape, ...]
    head: tuple[Shape, ...]
    layer: tuple[Shape, ...]
    around: tuple[Shape, ...]
    layers: int

    @property
    def parameters(self) -> int:
        """How many numbers all of them hold."""
        return numbers(self.embeddings + self.head + self.around) + self.layers * numbers(self.layer)


def numbers(shapes: tuple[Shape, ...]) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(prod(shape) for shape in shapes)


def weights_of(d: Whole) -> Weights:
    """The weights of a model with these sizes."""
    if d.survey:
        return _surveyed(d.survey, d.layers)
    form = form_of(d)
    table = (d.vocab, d.own.get("word_embed_proj_dim") or d.hidden)
    return Weights((table,), () if d.tied else (table,), _layer(d, form), _around(d, form), d.layers)


def _surveyed(found: Survey, layers: int) -> Weights:
    matrices = tuple((linear.outputs, linear.inputs) for linear in found.linears)
    return Weights(found.embeddings, found.head, matrices + found.rest, found.around, layers)


def _layer(d: Whole, form: Form) -> tuple[Shape, ...]:
    matrices: list[Shape] = []
    for role, (inputs, outputs) in linear_sizes(d).items():
        matrices.append((outputs, inputs))
        if role in form.biased:
            matrices.append((outputs,))
    for part in form.head_norms:
        matrices.append(head_norm(d, form, part))
    return (*matrices, *experts_of(d, form), *norm_of(d, form) * form.norms)


def head_norm(d: Whole, form: Form, part: str) -> Shape:
    """Of the norm of each head's queries or keys."""
    if form.norm != "cohere":
        return (d.head_dim,)
    return (d.heads if part == "query" else d.kv_heads, d.head_dim)


def experts_of(d: Whole, form: Form) -> tuple[Shape, ...]:
    """All experts of a layer in two tensors, and the router that chooses among them."""
    if form.mlp != "experts":
        return ()
    experts: int = d.own["num_local_experts"]
    return (
        (experts, d.hidden),
        (experts, 2 * d.intermediate, d.hidden),
        (experts, d.hidden, d.intermediate),
    )


def norm_of(d: Whole, form: Form) -> tuple[Shape, ...]:
    """Of one norm: a layer norm scales and shifts, the others only scale."""
    if form.norm != "layer":
        return ((d.hidden,),)
    return ((d.hidden,), (d.hidden,)) if d.own.get("layer_norm_elementwise_affine", True) else ()


def _around(d: Whole, form: Form) -> tuple[Shape, ...]:
    shapes: tuple[Shape, ...] = ()
    if form.positions is not None:
        shapes += (((d.context or 0) + form.positions, d.hidden),)
    narrow = d.own.get("word_embed_proj_dim") or d.hidden
    if narrow != d.hidden:
        shapes += ((d.hidden, narrow), (narrow, d.hidden))
    return (*shapes, *(norm_of(d, form) if form.last_norm else ()))


def matrices(d: Whole) -> int:
    """How many numbers the matrices of linear layers hold, all but the head's: what 4 bit is for."""
    layer = sum(inputs * outputs for inputs, outputs in linear_sizes(d).values())
    narrow = d.own.get("word_embed_proj_dim") or d.hidden
    return d.layers * layer + (2 * narrow * d.hidden if narrow != d.hidden else 0)
