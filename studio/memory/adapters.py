"""Linear layers with an adapter beside them on a tape of sizes: LoRA and DoRA after peft's own classes, and
what other programs do in their place. No torch."""

from __future__ import annotations

from studio.memory.layers import Compute, copied, drop, frozen, product
from studio.memory.operations import add, cast, mul, scale
from studio.memory.tape import Tape, Tensor


def linear(tape: Tape, c: Compute, x: Tensor, path: str, role: str, inputs: int, outputs: int) -> Tensor:
    """A linear layer, in 4 bit or not, trained or frozen, with an adapter or without."""
    name = f"{path}.{role}"
    if c.linears_train or c.trains(path):
        return product(tape, c, x, name, inputs, outputs)
    out = frozen(tape, c, x, inputs, outputs)
    rank = c.rank(path, role)
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
