"""Normalisations on a tape of sizes, family by family. No torch."""

from __future__ import annotations

from collections.abc import Callable

from studio.memory.layers import Compute
from studio.memory.operations import cast, mul, power, scale, unary
from studio.memory.tape import Tape, Tensor


def normed(tape: Tape, c: Compute, x: Tensor, path: str, width: int) -> Tensor:
    """The family's normalisation over the last `width` elements."""
    weight = Tensor(width, c.trained if c.trains_base else c.norms or c.base, None, None)
    if c.wide and c.form.norm == "layer":
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


def _wide(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """All of it in 32 bit."""
    return cast(tape, rms(tape, cast(tape, x, 4), weight, groups), x.item)


def rms(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """x over its root mean square in each group, times a weight."""
    return mul(tape, _scaled(tape, x, groups), weight)


def _scaled(tape: Tape, x: Tensor, groups: int) -> Tensor:
    square = power(tape, x)
    spread = unary(tape, square, "nothing", n=groups)
    del square
    return mul(tape, x, unary(tape, spread, "output"))


def _cohere(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    item = x.item
    x = cast(tape, x, 4)
    mean = unary(tape, x, "nothing", n=groups)
    square = power(tape, _less(tape, x, mean))
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


def _wide_layer(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    return cast(tape, _layer(tape, cast(tape, x, 4), weight, groups), x.item)


def _one_kernel(tape: Tape, x: Tensor, groups: int) -> Tensor:
    """A norm in one kernel: keeps its input and a number per group."""
    n, item, stats = x.n, x.item, tape.new(groups, 4)
    return tape.result(tape.new(n, item), (x,), (x.storage, stats.storage), lambda _: (tape.new(n, item),))


_NORMS: dict[str, Callable[[Tape, Tensor, Tensor, int], Tensor]] = {
    "rms": _rms,
    "gemma": _gemma,
    "wide": _wide,
    "cohere": _cohere,
    "layer": _layer,
    "wide_layer": _wide_layer,
}
