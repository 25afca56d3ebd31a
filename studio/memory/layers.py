"""What decoder layers are made of, on a tape of sizes: linear layers, adapters, dropout, norms.

Operation by operation after torch, peft and transformers' own classes. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from studio.memory.tape import (
    Node,
    Storage,
    Tape,
    Tensor,
    add,
    cast,
    mul,
    scale,
    unary,
)
from studio.models.config import ModelFacts
from studio.models.forms import Form, form_of, linear_name


@dataclass
class Compute:
    """How a model computes: sizes of numbers, what trains, and which kernels run.

    `base` and `trained` are bytes per number of frozen and of trained weights; `ranks` are those of the
    adapters by name of their linear layer, "*" of all. `leaves` are the trained tensors met so far, by name;
    `kept` lives until the backward pass is over.
    """

    facts: ModelFacts
    rows: int
    length: int
    base: int
    trained: int
    trains_base: bool = False
    autocast: bool = False
    quantised: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    dropout: bool = False
    dora: bool = False
    cuda: bool = False
    kernel: str = "sdpa"
    frozen_layers: int = 0
    norms: int | None = None  # bytes per weight of a norm, where it is not `base`
    embedded: int | None = None  # bytes per number of the embeddings, where it is not `base`
    kernels: frozenset[str] = frozenset()
    leaves: dict[str, Node] = field(default_factory=dict)
    casts: dict[str, Storage] = field(default_factory=dict)
    kept: list[Storage | None] = field(default_factory=list)
    cached: list[Storage | None] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def narrow(self) -> int:
        """The width of the token table and of what the head reads."""
        return self.facts.own.get("word_embed_proj_dim") or self.facts.hidden

    @cached_property
    def form(self) -> Form:
        """How the family builds a layer."""
        return form_of(self.facts)

    def rank(self, role: str) -> int | None:
        """Of the adapter beside the linear layer with this role, None if it has none."""
        return self.ranks.get(linear_name(self.facts.model_type, role), self.ranks.get("*"))

    def trains(self, path: str) -> bool:
        """Whether the base's own weights at this path train."""
        number = path.partition(".")[0]
        return self.trains_base and not (number.isdigit() and int(number) < self.frozen_layers)

    def again(self, tape: Tape, out: Tensor) -> Tensor:
        """The result of what a checkpoint ran. In the backward pass autocast ends with it, and drops the
        16-bit copies that it keeps in the forward pass."""
        if tape.saving:
            self.casts.clear()
        return out

    def leaf(self, tape: Tape, name: str, item: int | None = None) -> Node:
        """Where the gradients of a trained tensor go, of `item` bytes per number if not of `trained`."""
        if name not in self.leaves:
            self.leaves[name] = tape.leaf(item or self.trained)
        return self.leaves[name]


# Parts of a layer


def linear(tape: Tape, c: Compute, x: Tensor, path: str, role: str, inputs: int, outputs: int) -> Tensor:
    """A linear layer, in 4 bit or not, trained or frozen, with an adapter or without."""
    name = f"{path}.{role}"
    if c.trains(path):
        return product(tape, c, x, name, inputs, outputs)
    out = frozen(tape, c, x, inputs, outputs)
    rank = c.rank(role)
    if rank is None:
        return out
    if "lora" in c.kernels:
        return _fused_adapter(tape, c, x, out, name, inputs, outputs, rank)
    if c.quantised:  # peft makes a copy
        out = copied(tape, out)
    narrow = x if c.autocast else cast(tape, x, c.trained)
    if c.dropout:
        narrow = drop(tape, c, narrow)
    if c.dora:
        return with_magnitudes(tape, c, narrow, out, name, (inputs, rank, outputs))
    narrow = product(tape, c, narrow, f"{name}.a", inputs, rank)
    if "padded" in c.kernels:
        learned = scale(tape, _padded(tape, c, narrow, name, rank, outputs))
    else:
        learned = scale(tape, product(tape, c, narrow, f"{name}.b", rank, outputs))
    del narrow
    if c.quantised:
        return add(tape, out, cast(tape, learned, out.item))
    return cast(tape, add(tape, out, learned), out.item)


def with_magnitudes(
    tape: Tape, c: Compute, x: Tensor, out: Tensor, name: str, sizes: tuple[int, int, int]
) -> Tensor:
    """peft's DoRA: what the layer and its adapter make of x, each row scaled by a trained length in 32 bit
    over that of the sum of both weights, beside the layer's own result `out`. x was dropped out for both."""
    inputs, rank, outputs = sizes
    n, given = inputs * outputs, out.item

    def adapter(x: Tensor) -> Tensor:
        return product(tape, c, product(tape, c, x, f"{name}.a", inputs, rank), f"{name}.b", rank, outputs)

    added = cast(tape, adapter(tape.new(inputs**2, c.trained)), x.item)  # its weight, out of an identity
    whole = cast(tape, tape.new(n, c.base) if c.quantised else Tensor(n, c.base, None), x.item)
    _row_lengths(tape, whole, added)
    length = Tensor(outputs, 4, None, c.leaf(tape, f"{name}.magnitude", 4))
    learned = adapter(x)
    base = frozen(tape, c, x, inputs, outputs, whole) if c.dropout else out
    from_base = mul(tape, base, length)
    both = add(tape, from_base, scale(tape, mul(tape, learned, length)))
    del from_base, learned, base, added, whole
    both = add(tape, out, both)
    if c.quantised and c.autocast and c.cuda:
        return both  # peft leaves it to autocast, and asks only for that of a GPU
    return cast(tape, both, given)


def _row_lengths(tape: Tape, whole: Tensor, added: Tensor) -> None:
    """The lengths of a weight's rows with its adapter: it and what is added, scaled and summed in 32 bit."""
    rows = cast(tape, whole.like(None), 4)
    wide = cast(tape, added.like(None), 4)
    scaled = tape.new(wide.n, 4)
    del wide
    summed = tape.new(scaled.n, 4)
    del scaled, rows, summed


def _padded(tape: Tape, c: Compute, narrow: Tensor, name: str, rank: int, outputs: int) -> Tensor:
    """An adapter of two thirds of a matrix, put into zeros of its whole width; keeps what it puts there."""
    source = product(tape, c, narrow, f"{name}.b", rank, 2 * outputs // 3)
    size = source.n
    out = tape.new(size // 2 * 3, source.item)
    return tape.result(out, (source,), source.storage, lambda g: (tape.new(size, g.item),))


def _fused_adapter(
    tape: Tape, c: Compute, x: Tensor, out: Tensor, name: str, inputs: int, outputs: int, rank: int
) -> Tensor:
    """A layer and its adapter in one function: keeps the input, and the input after dropout."""
    dropped = tape.new(x.n, 2).storage if c.dropout else None
    leaves = tuple(
        Tensor(rank * size, c.trained, None, c.leaf(tape, f"{name}.{end}"))
        for end, size in (("a", inputs), ("b", outputs))
    )
    n, item = x.n, x.item
    return tape.result(
        Tensor(out.n, out.item, out.storage),
        (x, *leaves),
        (x.storage, dropped),
        lambda _: (tape.new(n, item), tape.new(rank * inputs, 4), tape.new(rank * outputs, 4)),
    )


def frozen(
    tape: Tape, c: Compute, x: Tensor, inputs: int, outputs: int, whole: Tensor | None = None
) -> Tensor:
    """A product with a weight that gets no gradient: x is not kept for it. A 4-bit layer computes in 16
    bit and returns what it was given, unless its weight is there already as a `whole` one."""
    given, packed = x.item, c.quantised and whole is None
    if c.autocast or (packed and c.base == 2):
        x = cast(tape, x, 2)
    n, item, size = x.n, x.item, inputs * outputs * x.item
    kept = cast(tape, whole, item).storage if whole else None
    if packed and "inputs" in c.kernels:
        kept = x.storage
    spread = tape.held(size, "workspace") if packed and c.cuda else None
    out = tape.new(n // inputs * outputs, item)
    del spread

    def back(g: Tensor) -> tuple[Tensor]:
        spread = tape.held(size, "workspace") if packed else None
        gradient = tape.new(n, g.item)
        del spread
        return (gradient,)

    out = tape.result(out, (x,), kept, back)
    return cast(tape, out, given) if packed else out


def product(tape: Tape, c: Compute, x: Tensor, name: str, inputs: int, outputs: int) -> Tensor:
    """A product with a trained weight, which keeps its input."""
    weight = Tensor(inputs * outputs, c.trained, None, c.leaf(tape, name))
    if c.autocast:
        x = cast(tape, x, 2)
        weight = _cast_weight(tape, c, weight, name)
    out = tape.new(x.n // inputs * outputs, x.item)
    wanted, n, item = x.node is not None, x.n, x.item

    def back(g: Tensor) -> tuple[Tensor | None, Tensor]:
        for_x = tape.new(n, g.item) if wanted else None
        return for_x, tape.new(inputs * outputs, item)

    return tape.result(out, (x, weight), (x.storage, weight.storage), back)


def _cast_weight(tape: Tape, c: Compute, weight: Tensor, name: str) -> Tensor:
    """Autocast keeps the 16-bit copy of a trained weight until the forward pass is over."""
    if c.trained == 2:
        return weight
    if name not in c.casts:
        storage = tape.new(weight.n, 2).storage
        assert storage is not None
        c.casts[name] = storage
    out = Tensor(weight.n, 2, c.casts[name])
    return tape.result(out, (weight,), None, lambda g: (tape.new(g.n, 4),))


def drop(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """Dropout: the studio's own on a processor, torch's on a GPU."""
    if c.cuda:
        return tape.result(
            tape.new(x.n, x.item), (x,), tape.new(x.n, 1).storage, lambda g: (tape.new(g.n, g.item),)
        )
    draws = tape.new(x.n, 2)
    kept = unary(tape, tape.new(x.n, 1), "nothing", item=x.item)
    del draws
    return mul(tape, x, kept)


def dropped(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """torch's dropout: on a processor a factor for each number, in its dtype."""
    if c.cuda:
        return drop(tape, c, x)
    return mul(tape, x, Tensor(x.n, x.item, tape.new(x.n, x.item).storage))


def copied(tape: Tape, x: Tensor) -> Tensor:
    """The same numbers in new bytes."""
    return tape.result(tape.new(x.n, x.item), (x,), None, lambda g: (g,))


def normed(tape: Tape, c: Compute, x: Tensor, path: str, width: int) -> Tensor:
    """The family's normalisation over the last `width` elements."""
    weight = Tensor(width, c.trained if c.trains_base else c.norms or c.base, None, None)
    if c.autocast and c.cuda and c.form.norm == "layer":  # on CUDA's list of operations in 32 bit
        x = cast(tape, x, 4)
    if "rms" in c.kernels:
        return _one_kernel(tape, x, x.n // width)
    if c.trains(path):
        weight.node = c.leaf(tape, path)
    return _NORMS[c.form.norm](tape, x, weight, x.n // width)


def _rms(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """In 32 bit, the weight in the input's own dtype."""
    return mul(tape, cast(tape, _scaled(tape, cast(tape, x, 4), groups), x.item), weight)


def _gemma(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """All of it in 32 bit; the weight counts from one."""
    weight = scale(tape, cast(tape, weight, 4))
    return cast(tape, rms(tape, cast(tape, x, 4), weight, groups), x.item)


def rms(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """x over its root mean square in each group, times a weight."""
    return mul(tape, _scaled(tape, x, groups), weight)


def _scaled(tape: Tape, x: Tensor, groups: int) -> Tensor:
    square = unary(tape, x, "input")
    spread = unary(tape, square, "nothing", n=groups)
    del square
    return mul(tape, x, unary(tape, spread, "output"))


def _cohere(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    item = x.item
    x = cast(tape, x, 4)
    mean = unary(tape, x, "nothing", n=groups)
    square = unary(tape, _less(tape, x, mean), "input")
    spread = unary(tape, square, "nothing", n=groups)
    del square
    scaled = mul(tape, _less(tape, x, mean), unary(tape, spread, "output"))
    del x, mean, spread
    return cast(tape, mul(tape, cast(tape, weight, 4), scaled), item)


def _less(tape: Tape, x: Tensor, mean: Tensor) -> Tensor:
    groups = mean.n
    return tape.result(tape.new(x.n, x.item), (x, mean), None, lambda g: (g, tape.new(groups, g.item)))


def _layer(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    out, stats = tape.new(x.n, x.item), tape.new(2 * groups, 4)
    n, item, width = x.n, x.item, weight.n
    return tape.result(
        out, (x, weight), (x.storage, stats.storage), lambda _: (tape.new(n, item), tape.new(2 * width, item))
    )


def _one_kernel(tape: Tape, x: Tensor, groups: int) -> Tensor:
    """A norm in one kernel: keeps its input and a number per group."""
    n, item, stats = x.n, x.item, tape.new(groups, 4)
    return tape.result(tape.new(n, item), (x,), (x.storage, stats.storage), lambda _: (tape.new(n, item),))


_NORMS: dict[str, Callable[[Tape, Tensor, Tensor, int], Tensor]] = {
    "rms": _rms,
    "gemma": _gemma,
    "cohere": _cohere,
    "layer": _layer,
}
