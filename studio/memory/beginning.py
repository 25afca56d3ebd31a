"""What a run holds before its first step, where a method begins by looking at more than a step does.

PiSSA and OLoRA take each matrix apart in 32 bit. EVA and CorDA (arXiv 2410.07170, 2406.05223) first read the
model's inputs and keep a square of each layer's width; LoRA-GA (arXiv 2407.05000) passes back through a model
without checkpoints and keeps gradients; both for a group of layers at a time. LoftQ (arXiv 2310.08659)
compares the base in 4 bit with one that is not, which is loaded onto the processor. No torch.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from studio.memory.layers import Compute
from studio.memory.step import Step
from studio.memory.tape import PARTS, Tensor
from studio.memory.workload import Workload
from studio.methods.lora import GROUP_BYTES, WHOLE_SVD

_SPARE = 16  # directions that an iteration follows beyond those that are wanted


def begun(work: Workload, weights: int) -> dict[str, int]:
    """Bytes by part when most is held beside `weights`, the base's; none where nothing is looked at."""
    terms, item = work.terms, work.base_itemsize
    if not terms.decomposed:
        return {}
    assert work.facts.parameters is not None
    second = item * work.facts.parameters if terms.reads == "whole_weight" and work.device == "cpu" else 0
    numbers = sum(prod(shape) for shape in terms.trainable)
    # Of the matrices already done, in 32 bit.
    lasting = {"weights": weights + second, "adapter": 4 * numbers}
    moments = [
        {**lasting, "workspace": _statistics(work) + 4 * max(_apart(work, m) for m in terms.decomposed)}
    ]
    if terms.reads == "inputs":
        moments.append({**lasting, **_reading_inputs(work)})
    if terms.reads == "gradients":
        # The first group, whose graph is the deepest: nothing is done yet.
        moments += [{**parts, **lasting, "adapter": 0} for parts in _reading_gradients(work)]
    if terms.taken_out:
        # What was found, the adapter, and how it began; the weight in 32 bit and what becomes of it.
        rest = 4 * (2 if item == 4 else 3) * max(prod(shape) for shape in terms.decomposed)
        adapter = (4 + 2 * terms.itemsize) * numbers
        moments.append({**lasting, "adapter": adapter, "workspace": rest})
    return max(moments, key=lambda parts: sum(parts.values()))


def _apart(work: Workload, shape: tuple[int, int]) -> int:
    """Numbers in 32 bit while one matrix is taken apart."""
    terms, whole, square = work.terms, prod(shape), shape[1] ** 2
    rank = max(terms.ranks.values())
    # What is in 32 bit already is looked at as it is.
    copy = 0 if work.base_itemsize == 4 and work.quantisation is None else whole
    if terms.reads == "whole_weight":
        in_place = work.base_itemsize == 4 and work.device == "cpu"
        return (2 if in_place else 3) * whole + _vectors(shape, rank)
    if terms.reads == "inputs" and not terms.taken_out:
        return copy + 3 * square
    if terms.reads == "inputs":
        return copy + max(3 * square, square + whole + _vectors(shape, rank))
    return copy + _vectors(shape, 2 * rank if terms.reads == "gradients" else rank)


def _vectors(shape: tuple[int, int], rank: int) -> int:
    """Numbers of the singular vectors that are found of a matrix."""
    return sum(shape) * (min(shape) if min(shape) <= WHOLE_SVD else rank + _SPARE)


def _numbers(work: Workload, shape: tuple[int, int]) -> int:
    """Of what is kept of a matrix while a group of layers is read."""
    return {"inputs": shape[1] ** 2, "gradients": prod(shape)}.get(work.terms.reads, 0)


def _statistics(work: Workload) -> int:
    """Bytes of what is kept of the largest group."""
    layer = 4 * sum(_numbers(work, shape) for shape in work.terms.decomposed)
    largest = max(4 * _numbers(work, shape) for shape in work.terms.decomposed)
    return min(work.facts.layers * layer, max(GROUP_BYTES, largest))


def _reading_inputs(work: Workload) -> dict[str, int]:
    """A pass without a graph; where most is held, the input of a matrix stands beside a copy of its real
    tokens, one in 32 bit and the square that these give."""
    facts, settings, item = work.facts, work.plan.settings, work.base_itemsize
    assert settings.batch is not None
    assert settings.seq is not None
    tokens = settings.batch * settings.seq
    widest = max(inputs for _, inputs in work.terms.decomposed)
    copies = item if item == 4 else item + 4
    return {
        "activations": tokens * (item * (4 * facts.hidden + widest) + copies * widest),
        "workspace": _statistics(work) + 4 * widest**2,
    }


def _reading_gradients(work: Workload) -> list[dict[str, int]]:
    """A pass forward and back, in which the matrices of the first group of layers have gradients, beside
    their sums in 32 bit."""
    plan = work.plan.with_settings(gradient_checkpointing=False, optimizer_impl="fused")
    step = _Reading(replace(work, plan=plan), work.facts.layers)
    statistics = _statistics(work)
    each = (dict(zip(PARTS, sizes, strict=True)) for sizes in step.run().values())
    return [{**parts, "workspace": parts["workspace"] + statistics} for parts in each]


class _Reading(Step):
    """A step of the untouched base in which some layers' matrices have gradients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        terms, item = self.work.terms, self.work.base_itemsize
        self.terms = replace(terms, trainable=(), trains_embeddings=False, trains_head=False)
        self.c: Compute = replace(self.c, ranks={}, dropout=False, dora=False, autocast=False, trained=item)
        self._with_gradients = replace(self.c, linears_train=True)
        group, layer = _statistics(self.work), 4 * sum(_numbers(self.work, m) for m in terms.decomposed)
        in_order = sorted(range(self.layers), key=str)  # as the paths of modules are
        self._group = frozenset(in_order[: max(1, group // layer)])

    def _layer(self, state: Tensor, number: int) -> Tensor:
        untouched = self.c
        self.c = self._with_gradients if number in self._group else untouched
        try:
            return super()._layer(state, number)
        finally:
            self.c = untouched
