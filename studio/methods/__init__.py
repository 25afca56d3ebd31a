"""Tuning methods: one file each, found by walking this package (`studio.plan.methods`).

A method's file holds a frozen params dataclass and one `EXTENSION`, a `Method`. Its torch part is named by
a string and follows `studio.train.tuner.Tuner`, so that listing the methods imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal, Protocol

from studio.errors import Problem, Reason
from studio.models.quantisation import Quantisation
from studio.models.surveyed import Survey
from studio.train.side.shape import SideShape

Serving = Literal["batched", "switched", "own_copy"]
# What a beginning looks at beside the weights; `whole_weight` are those of a second base, not quantised.
Reads = Literal["nothing", "inputs", "gradients", "whole_weight"]


class Dimensions(Protocol):
    """The sizes of a decoder-only model that memory terms are computed from."""

    @property
    def model_type(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def context(self) -> int | None: ...
    @property
    def tied(self) -> bool: ...
    @property
    def own(self) -> Mapping[str, Any]: ...
    @property
    def beside(self) -> tuple[int, int]: ...
    @property
    def survey(self) -> Survey | None: ...


@dataclass(frozen=True)
class MethodMemory:
    """What a method adds to the memory of its base model.

    `trainable` are the shapes of the tensors that get gradients and optimizer state (repeated ones listed as
    often as they occur), `itemsize` the bytes of each of their numbers, and `held` those of what the method
    keeps beside them all the time.

    Of the computation: `ranks` of the adapters beside linear layers, by role (`*`: all; where not all
    layers have the same, `uneven`, by number and role: `0.q_proj`), whether their input is dropped out at
    random, and whether rows have a trained length (`dora`); `side`, a network beside the model, which then
    keeps nothing itself, and whether its output is added to the model's; what of the base itself trains
    (`trains_tokens`: single rows of its embeddings, in a copy); which of `trainable` stand in the place of a
    module of the base (`whole`).

    `decomposed`: the shapes (outputs, inputs) of a layer's matrices that a beginning takes apart; what it
    `reads` for that, and whether what it found is `taken_out` of the base.
    """

    trainable: tuple[tuple[int, ...], ...]
    itemsize: int
    held: int = 0
    ranks: Mapping[str, int] = field(default_factory=dict)
    uneven: bool = False
    dropout: bool = False
    dora: bool = False
    side: SideShape | None = None
    side_mixed: bool = True
    frozen_layers: int = 0
    trains_embeddings: bool = False
    trains_head: bool = False
    trains_tokens: bool = False
    whole: tuple[tuple[int, ...], ...] = ()
    decomposed: tuple[tuple[int, int], ...] = ()
    reads: Reads = "nothing"
    taken_out: bool = False

    def alike(self, layers: int) -> bool:
        """Whether a step does the same in each of so many layers."""
        tapped = self.side is None or len(self.side.taps) == layers
        return tapped and not (self.frozen_layers or self.uneven)

    @property
    def trainable_params(self) -> int:
        return sum(map(prod, self.trainable))

    @property
    def trained_bytes(self) -> int:
        """What the method's own tensors occupy; those of the base that train are counted as the base's."""
        return self.trainable_params * self.itemsize + self.held


@dataclass(frozen=True)
class Method:
    """A way to tune a model.

    A capability is a value, or a function of the method's params where it depends on them. `serving` says
    how the chat engine can hold the result: `batched` (rows of one batch may use different ones), `switched`
    (beside a shared base, row by row where its switch can, else one at a time) or `own_copy` (the base as it
    is held for others won't do). `memory(dimensions, params,
    settings)` gives the method's terms for the estimate. `choose(params, dimensions)` fills in what was left
    open and depends on the model, with the reason of each choice by the param's name. `check(params,
    dimensions)` names what cannot be on this model (None: not known), each under its param's key, whose
    default then stands in; `offers(dimensions)` the names that a param can take. `quantisation(params)` says
    how the base is to be held in 4 bit; without it the base is held as the plan's precision says.
    `backward_through_base`: whether a step keeps activations of the base, which checkpointing could save.
    """

    id: str
    title: str
    summary: str
    params: type
    torch: str
    memory: Callable[[Dimensions, Any, Any], MethodMemory]
    quantised_base: bool | Callable[[Any], bool]
    mergeable: bool | Callable[[Any], bool]
    trains_base: bool | Callable[[Any], bool]
    rewrites_base: bool | Callable[[Any], bool]
    serving: Serving | Callable[[Any], Serving]
    choose: Callable[[Any, Dimensions], tuple[Any, dict[str, Reason]]] | None = None
    check: Callable[[Any, Dimensions | None], list[Problem]] | None = None
    offers: Callable[[Dimensions], dict[str, tuple[str, ...]]] | None = None
    quantisation: Callable[[Any], Quantisation] | None = None
    backward_through_base: bool = True

    def capable(self, capability: str, params: Any) -> bool:
        """The value of a capability under these params."""
        value = getattr(self, capability)
        return bool(value(params) if callable(value) else value)

    def served(self, params: Any) -> Serving:
        """How the chat engine can hold what was learned under these params."""
        return self.serving(params) if callable(self.serving) else self.serving

    def checked(self, params: Any, dimensions: Dimensions | None) -> tuple[Any, list[Problem]]:
        """The params with the default in the place of what cannot be on this model, and why it cannot."""
        problems = self.check(params, dimensions) if self.check else []
        names = {str(problem.key).removeprefix("method.") for problem in problems}
        usual = type(params)()
        return replace(params, **{name: getattr(usual, name) for name in names}), problems

    def base_quantisation(self, params: Any) -> Quantisation | None:
        """How the base is held under these params; None: in the plan's precision."""
        return self.quantisation(params) if self.quantisation else None


def added_itemsize(settings: Any) -> int:
    """Bytes per number of what a method adds to a model and trains: 2 only where the plan asks for it."""
    dtype = settings.adapter_dtype or ("bf16" if settings.precision == "bf16" else "fp32")
    return 2 if dtype == "bf16" else 4
