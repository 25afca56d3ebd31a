"""A torch of sizes: tensors that are only bytes, operations that keep what autograd keeps, a backward pass.

An estimate runs a model's arithmetic on these in the order that torch would, so that its terms come from the
computation and not from constants. Python frees a tensor here exactly when it would free torch's: with the
last name or graph node that holds it. No torch.

Shapes don't matter, only numbers of elements; `item` is the size of one in bytes. Operations follow what
torch saves for its backward formulas (tools/autograd/derivatives.yaml).
"""

from __future__ import annotations

import heapq
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from studio.memory.takings import INNER, Takings

PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "workspace")
_INDEX = {name: index for index, name in enumerate(PARTS)}
Back = Callable[["Tensor"], tuple["Tensor | None", ...]]


class Storage:
    """Bytes that live as long as this object."""

    __slots__ = ("_number", "_stretch", "_tape", "part", "size")

    def __init__(self, tape: Tape, size: int, part: int) -> None:
        self._tape, self.size, self.part = tape, size, part
        self._stretch = stretch = tape.stretch
        stretch.live[part] += size
        tape.live[part] += size * stretch.times
        tape.total += size * stretch.times
        if tape.log is not None:
            self._number = tape.log.take(size)
        if tape.total > tape.highest:
            tape.note_peak()

    def __del__(self) -> None:
        tape, stretch = self._tape, self._stretch
        stretch.live[self.part] -= self.size
        tape.live[self.part] -= self.size * stretch.times
        tape.total -= self.size * stretch.times
        if tape.log is not None:
            tape.log.give(self._number)

    def move(self, part: str) -> None:
        """Count these bytes as another part's."""
        self._count(-1)
        self.part = _INDEX[part]
        self._count(1)

    def _count(self, sign: int) -> None:
        self._stretch.live[self.part] += sign * self.size
        self._tape.live[self.part] += sign * self.size * self._stretch.times


class Tensor:
    """`n` elements of `item` bytes; `node` is what its gradient goes to, None if it needs none."""

    __slots__ = ("item", "n", "node", "storage")

    def __init__(self, n: int, item: int, storage: Storage | None, node: Node | None = None) -> None:
        self.n, self.item, self.storage, self.node = n, item, storage, node

    def like(self, node: Node | None) -> Tensor:
        """Another view of the same bytes."""
        return Tensor(self.n, self.item, self.storage, node)


class Node:
    """A step of the backward pass. `saved` holds what it needs; `back` turns the gradient of its output into
    those of its inputs, one per edge."""

    __slots__ = ("back", "edges", "order", "saved")

    def __init__(self, order: int, edges: tuple[Node | None, ...], saved: object, back: Back) -> None:
        self.order, self.edges, self.saved, self.back = order, edges, saved, back


class Stretch:
    """What was made while one stretch of the model ran, as far as it lives: `live` bytes by part, of which
    there are so many `times` in the model."""

    __slots__ = ("live", "times")

    def __init__(self) -> None:
        self.live = [0] * len(PARTS)
        self.times = 1


class Tape:
    """What lives, and the highest it was.

    Peaks are noted by place (see `at`): `peaks[place]` is the list of bytes by part when most lived there.
    With a `log`, every storage is noted there when it is made and when it is freed.

    A model with `more` inner layers than those that run is counted by a layer beside the inner one: what that
    keeps once its neighbours are done, each inner layer keeps. While the inner one itself runs, no peak is
    noted: with layers alike, what lives rises or falls evenly from the layer before it to the one after.
    """

    def __init__(self, log: Takings | None = None, more: int = 0) -> None:
        self.log = log
        self.stretch = Stretch()
        self._stretches = [self.stretch]
        self._begins = [0]  # number of the first node of the graph in each stretch
        self._at = 0  # number of the stretch
        self._forward = True
        self._more = more
        self._inside = False  # of the inner layer that stands for more
        self.live = [0] * len(PARTS)
        self.total = 0
        self.highest = 0
        self.peaks: dict[str, list[int]] = {}
        self.saving = True  # off: no graph is built
        self.part = _INDEX["activations"]  # what new tensors belong to
        self._place = ""
        self._nodes = 0
        self._depth = 0  # of backward passes within backward passes

    def note_peak(self) -> None:
        """Called whenever more lives than ever at this place."""
        if not self._inside:
            self.highest = self.total
            self.peaks[self._place] = self.live.copy()

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Peaks inside are noted under `place`."""
        before = self._place
        self._enter(place)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, place: str) -> None:
        self._place = place
        known = self.peaks.get(place)
        self.highest = sum(known) if known else 0
        if self.total > self.highest:
            self.note_peak()

    @contextmanager
    def making(self, part: str) -> Iterator[None]:
        """New tensors inside belong to `part`."""
        before, self.part = self.part, _INDEX[part]
        try:
            yield
        finally:
            self.part = before

    @contextmanager
    def without_graph(self) -> Iterator[None]:
        """Operations inside keep nothing for a backward pass."""
        before, self.saving = self.saving, False
        try:
            yield
        finally:
            self.saving = before

    def new(self, n: int, item: int) -> Tensor:
        """Fresh bytes."""
        return Tensor(n, item, Storage(self, n * item, self.part))

    def held(self, size: int, part: str) -> Storage:
        """Bytes that belong to `part` for as long as the result is kept."""
        return Storage(self, size, _INDEX[part])

    def result(self, out: Tensor, inputs: tuple[Tensor | None, ...], saved: object, back: Back) -> Tensor:
        """`out` as an operation's result: in the graph if any input is, with what its backward step needs."""
        if not self.saving:
            return out
        for x in inputs:
            if x is not None and x.node is not None:
                edges = tuple([None if x is None else x.node for x in inputs])
                out.node = self.node(edges, saved, back)
                break
        return out

    def node(self, edges: tuple[Node | None, ...], saved: object, back: Back) -> Node:
        """The next step of the graph."""
        self._nodes += 1
        return Node(self._nodes, edges, saved, back)

    def next_part(self) -> None:
        """The forward pass has come to the next layer, or to what follows the last."""
        self._begins.append(self._nodes + 1)
        self._stretches.append(Stretch())
        self._reach(len(self._begins) - 1)

    def _back_to(self, order: int) -> None:
        """The backward pass is at this node."""
        self._forward = False
        self._reach(bisect_right(self._begins, order) - 1)

    def _reach(self, number: int) -> None:
        self._at, self.stretch = number, self._stretches[number]
        if self.log is not None:
            self.log.reach(number, self._forward)
        if self._more:
            self._inside = number == INNER
            if self._forward and number == INNER + 1:
                self._repeat(INNER - 1, 1 + self._more)
            elif not self._forward and number < INNER:
                self._repeat(INNER - 1, 1)
                self._repeat(INNER + 1, 1 + self._more)

    def _repeat(self, number: int, times: int) -> None:
        stretch = self._stretches[number]
        for part, size in enumerate(stretch.live):
            self.live[part] += (times - stretch.times) * size
        stretch.times = times
        self.total = sum(self.live)

    def leaf(self, grad_item: int, shards: int = 1) -> Node:
        """What the gradients of one trained tensor go to: the first stays, or one of its `shards`; later ones
        are added to it."""
        kept: list[Tensor] = []

        def accumulate(gradient: Tensor) -> tuple[()]:
            if not kept:
                if gradient.item != grad_item or shards > 1:
                    gradient = self.new(-(-gradient.n // shards), grad_item)
                assert gradient.storage is not None
                gradient.storage.move("gradients")
                kept.append(gradient)
            return ()

        return Node(-1, (), kept, accumulate)

    def backward(self, out: Tensor, gradient: Tensor) -> None:
        """Run the graph behind `out` from its end, each node once its gradient is whole; what belongs to no
        operation takes its gradient at once, as in torch."""
        assert out.node is not None
        waiting: dict[Node, Tensor] = {out.node: gradient}
        heap = [(-out.node.order, out.node)]
        del gradient
        out.node = None
        self._depth += 1
        with self.making("workspace"):
            while heap:
                node = heapq.heappop(heap)[1]
                if self._depth == 1 and (self._forward or node.order < self._begins[self._at]):
                    self._back_to(node.order)
                parts = node.back(waiting.pop(node))
                node.saved = None
                for edge, part in zip(node.edges, parts, strict=False):
                    if edge is None or part is None:
                        continue
                    if edge.order < 0:
                        edge.back(part)
                    elif edge in waiting:
                        waiting[edge] = self._added(waiting.pop(edge), part)
                    else:
                        waiting[edge] = part
                        heapq.heappush(heap, (-edge.order, edge))
                del parts, node
        self._depth -= 1

    def _added(self, first: Tensor, second: Tensor) -> Tensor:
        """The sum of two gradients: in the place of the first if nothing else looks at it."""
        alone = sys.getrefcount(first) <= 3 and sys.getrefcount(first.storage) <= 2
        if alone and first.item >= second.item:
            return first
        return self.new(first.n, max(first.item, second.item))


# Operations. Each returns a new tensor; `grad` below is "its gradient is wanted".


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

        start = Node(-1, (), None, receive)
        with tape.making("activations"):
            result = run(x.like(start if x.node is not None else None))
        again_whole = result.storage if whole else None
        result.storage = None
        tape.backward(result, g)
        del again_whole
        return (again.pop() if again else None,)

    if x.node is None and not trains:
        return out
    out.node = tape.node((x.node,), x.storage, back)
    return out
