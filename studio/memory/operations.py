"""Operations on tensors of sizes: what each makes, what it keeps for its backward step, what that makes.

They follow what torch saves for its backward formulas (tools/autograd/derivatives.yaml). Each returns a new
tensor; `n` is a number of elements, `item` the bytes of one. No torch.
"""

from __future__ import annotations

from collections.abc import Callable

from studio.memory.tape import Node, Storage, Tape, Tensor


def cast(tape: Tape, x: Tensor, item: int) -> Tensor:
    """x in another dtype; x itself if it has it."""
    if x.item == item:
        return x
    before = x.item
    return tape.result(tape.new(x.n, item), (x,), None, lambda g: (tape.new(g.n, before),))


def add(tape: Tape, x: Tensor, y: Tensor) -> Tensor:
    """x + y, of one size."""
    items = (x.item, y.item)
    return tape.result(tape.new(x.n, max(items)), (x, y), None, lambda g: _each_in(tape, g, items))


def _each_in(tape: Tape, g: Tensor, items: tuple[int, int]) -> tuple[Tensor, Tensor]:
    first, second = (g if g.item == item else tape.new(g.n, item) for item in items)
    return first, second


def scale(tape: Tape, x: Tensor) -> Tensor:
    """x times a plain number."""
    return tape.result(tape.new(x.n, x.item), (x,), None, lambda g: (tape.new(g.n, g.item),))


def mul(tape: Tape, x: Tensor, y: Tensor, n: int | None = None) -> Tensor:
    """x times y; the smaller is repeated. Keeps each factor that the other's gradient needs."""
    n = n or max(x.n, y.n)
    item = max(x.item, y.item)
    saved = (x.storage if y.node else None, y.storage if x.node else None)
    sizes, wanted = ((x.n, x.item), (y.n, y.item)), (x.node is not None, y.node is not None)

    def back(g: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(
            _product(tape, g, *size) if want else None for size, want in zip(sizes, wanted, strict=True)
        )

    return tape.result(tape.new(n, item), (x, y), saved, back)


def _product(tape: Tape, g: Tensor, n: int, item: int) -> Tensor:
    """A gradient times a factor, summed over what was repeated, in the dtype of what it belongs to."""
    out = tape.new(g.n, g.item)
    return out if (out.n, out.item) == (n, item) else tape.new(n, item)


def unary(tape: Tape, x: Tensor, keeps: str, n: int | None = None, item: int | None = None) -> Tensor:
    """A function of each element, or with `n` of groups. `keeps`: its `input`, its `output`, or `nothing`."""
    out = tape.new(n or x.n, item or x.item)
    size, before = x.n, x.item
    saved = {"input": x.storage, "output": out.storage, "nothing": None}[keeps]
    return tape.result(out, (x,), saved, lambda _: (tape.new(size, before),))


def power(tape: Tape, x: Tensor) -> Tensor:
    """x to a fixed power. Its backward step, g * (e * x ** (e - 1)), makes three tensors that are there at
    once (pow_backward in FunctionsManual.cpp)."""
    size, item = x.n, x.item

    def back(_: Tensor) -> tuple[Tensor]:
        lower, times = tape.new(size, item), tape.new(size, item)
        out = tape.new(size, item)
        del lower, times
        return (out,)

    return tape.result(tape.new(size, item), (x,), x.storage, back)


def view(tape: Tape, x: Tensor) -> Tensor:
    """Other dimensions over the same bytes."""
    return tape.result(x.like(None), (x,), None, lambda g: (g,))


def part_of(tape: Tape, x: Tensor, n: int) -> Tensor:
    """`n` elements of x, over the same bytes; its gradient is one of all of x."""
    whole, item = x.n, x.item
    out = Tensor(n, item, x.storage)
    return tape.result(out, (x,), None, lambda g: (tape.new(whole, g.item),))


def split(tape: Tape, x: Tensor, count: int) -> list[Tensor]:
    """x in equal parts over the same bytes; their gradients are put together once all are there."""
    whole, n, item = x.n, x.n // count, x.item
    held: list[Storage | None] = []

    def together(g: Tensor) -> tuple[Tensor]:
        out = tape.new(whole, g.item)
        held.clear()
        return (out,)

    def keep(g: Tensor) -> tuple[Tensor]:
        held.append(g.storage)
        return (Tensor(0, g.item, None),)

    middle = tape.result(Tensor(whole, item, x.storage), (x,), None, together)
    return [tape.result(Tensor(n, item, x.storage), (middle,), None, keep) for _ in range(count)]


def joined(tape: Tape, xs: tuple[Tensor, ...]) -> Tensor:
    """Tensors put one behind the other, in new bytes; their gradients look at the one of the whole."""
    sizes = [x.n for x in xs]
    out = tape.new(sum(sizes), max(x.item for x in xs))
    return tape.result(out, xs, None, lambda g: tuple(Tensor(n, g.item, g.storage) for n in sizes))


def matmul(tape: Tape, x: Tensor, y: Tensor, n: int) -> Tensor:
    """A batched product with `n` results."""
    saved = (x.storage if y.node else None, y.storage if x.node else None)
    sizes, wanted = ((x.n, x.item), (y.n, y.item)), (x.node is not None, y.node is not None)

    def back(g: Tensor) -> tuple[Tensor | None, ...]:
        del g
        return tuple(tape.new(*size) if want else None for size, want in zip(sizes, wanted, strict=True))

    return tape.result(tape.new(n, x.item), (x, y), saved, back)


def checkpointed(
    tape: Tape, run: Callable[[Tensor], Tensor], x: Tensor, trains: bool, whole: bool = False
) -> Tensor:
    """`run(x)` that keeps only x, and runs again in the backward pass; `whole`: to its very end, so that its
    result is there a second time (torch's reentrant kind)."""
    if not tape.saving:
        return run(x)
    with tape.without_graph():
        out = run(x)

    def back(g: Tensor) -> tuple[Tensor | None, ...]:
        again: list[Tensor] = []

        def receive(gradient: Tensor) -> tuple[()]:
            again.append(gradient)
            return ()

        begin = x.like(Node(-1, (), None, receive) if x.node is not None else None)
        if not whole:
            tape.backward_again(run, begin, g)
            return (again.pop() if again else None,)
        with tape.making("activations"):
            result = run(begin)
        last = result.storage
        result.storage = None
        tape.backward(result, g)
        del last
        return (again.pop() if again else None,)

    if x.node is None and not trains:
        return out
    out.node = tape.node((x.node,), x.storage, back)
    return out
