"""A torch of sizes: tensors that are only bytes, operations that keep what autograd keeps, a backward pass.

An estimate runs a model's arithmetic on these in the order that torch would, so that its terms come from the
computation and not from constants. Python frees a tensor here exactly when it would free torch's: with the
last name or graph node that holds it. No torch.

Shapes don't matter, only numbers of elements; `item` is the size of one in bytes. What each operation keeps
stands in `studio.memory.operations`.
"""

from __future__ import annotations

import heapq
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

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

    __slots__ = ("__weakref__", "back", "edges", "keeps", "order", "saved")

    def __init__(self, order: int, edges: tuple[Node | None, ...], saved: object, back: Back) -> None:
        self.order, self.edges, self.saved, self.back = order, edges, saved, back
        each = saved if isinstance(saved, tuple) else (saved,)
        self.keeps = any(one is not None for one in each)


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
        self._made = WeakValueDictionary[int, Node]()  # those of a layer that runs again, by their order
        self._again = False  # whether a layer runs again
        self._keeping = 0  # operations so far that keep something
        self._last = 0  # the one of them after which what is made takes nothing
        self._weightless = False  # what is made takes nothing
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
        return Tensor(n, item, Storage(self, 0 if self._weightless else n * item, self.part))

    def held(self, size: int, part: str) -> Storage:
        """Bytes that belong to `part` for as long as the result is kept."""
        return Storage(self, 0 if self._weightless else size, _INDEX[part])

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
        node = Node(self._nodes, edges, saved, back)
        if self._again:
            self._made[node.order] = node
            self._keeping += node.keeps
            self._weightless = self._weightless or self._keeping == self._last
        return node

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
        waiting = {out.node: gradient}
        out.node = None
        del gradient
        self._run_back(waiting)

    def _run_back(self, waiting: dict[Node, Tensor], ahead: bool = False) -> None:
        """From the nodes whose gradients wait; `ahead`: as far as nothing that was kept is needed."""
        heap = [(-node.order, node) for node in waiting]
        heapq.heapify(heap)
        self._depth += 1
        with self.making("workspace"):
            while heap and not (ahead and heap[0][1].keeps):
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
                edge = part = None  # what they name lives no longer than this
        self._depth -= 1

    def backward_again(self, run: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> None:
        """The backward pass of `run(x)`, whose graph kept nothing: it is run again when the first operation
        needs what it kept, and no further than to the last that kept something (torch's checkpoints)."""
        start = self._nodes + 1
        out = self._once_more(run, x, 0)
        assert out.node is not None
        keeping = self._keeping
        waiting = {out.node: gradient}
        out.node = None
        del gradient, out
        self._run_back(waiting, ahead=True)
        places = {node.order - start: waiting.pop(node) for node in list(waiting)}
        if not places:
            return
        start = self._nodes + 1
        with self.making("activations"):
            out = self._once_more(run, x, keeping)
        waiting = {self._made[start + place]: places.pop(place) for place in list(places)}
        out.storage = out.node = None
        self._run_back(waiting)

    def _once_more(self, run: Callable[[Tensor], Tensor], x: Tensor, last: int) -> Tensor:
        """Run a layer again; what it makes takes memory up to the operation that is the `last` one to keep
        something."""
        self._again, self._keeping, self._last, self._weightless = True, 0, last, last == 0
        out = run(x)
        self._again = self._weightless = False
        return out

    def _added(self, first: Tensor, second: Tensor) -> Tensor:
        """The sum of two gradients: in the place of the first if nothing else looks at it."""
        alone = sys.getrefcount(first) <= 3 and sys.getrefcount(first.storage) <= 2
        if alone and first.item >= second.item:
            return first
        return self.new(first.n, max(first.item, second.item))
