"""A side network on a tape of sizes: what `studio.train.side` computes from the taps of a pass."""

from __future__ import annotations

from studio.memory.layers import Compute, product
from studio.memory.norms import rms
from studio.memory.operations import add, cast, mul, scale, unary
from studio.memory.tape import Tape, Tensor
from studio.train.side.shape import STRETCH, SideShape


class LadderTape:
    """A side network whose state climbs rung by rung beside a model that keeps nothing."""

    def __init__(self, tape: Tape, c: Compute, shape: SideShape) -> None:
        self.tape, self.c, self.shape = tape, c, shape
        self.item = 2 if c.autocast else c.trained

    def first(self, embedded: Tensor) -> Tensor:
        """The state before the first rung."""
        return cast(self.tape, self._down(embedded, "down"), self.item)

    def rung(self, state: Tensor, tap: Tensor, number: int) -> Tensor:
        """The state after a rung."""
        tape = self.tape
        narrow = cast(tape, self._down(tap, f"{number}.down"), self.item)
        gate = Tensor(1, self.item, None, self.c.leaf(tape, "gates"))
        mixed = self._lerp(narrow, state, gate)
        del narrow, state
        return self._block(mixed, number)

    def output(self, state: Tensor, hidden: Tensor, mixed: bool) -> Tensor:
        """What the head reads."""
        tape, shape = self.tape, self.shape
        read = self._norm(state, "norm")
        side = cast(tape, product(tape, self.c, read, "up", shape.width, shape.hidden), hidden.item)
        if shape.pointers:
            side = add(tape, side, cast(tape, self.pointed(read), hidden.item))
        del read
        if not mixed:
            return side
        alpha = Tensor(1, hidden.item, None, self.c.leaf(tape, "alpha"))
        return add(tape, mul(tape, hidden, alpha), side)

    def pointed(self, read: Tensor) -> Tensor:
        """What the pointers add: queries, keys and gates are kept, patterns made again."""
        tape, c, shape = self.tape, self.c, self.shape
        query, key = (
            product(tape, c, read, f"pointer.{name}", shape.width, shape.pointed) for name in ("query", "key")
        )
        gate = scale(tape, product(tape, c, read, "pointer.gate", shape.width, shape.pointers))
        out = tape.new(c.tokens * shape.hidden, c.base)
        self._look(4 if c.autocast else query.item, further=1)
        inputs = (query, key, gate)
        sizes = [(x.n, x.item) for x in inputs]

        def back(g: Tensor) -> tuple[Tensor, ...]:
            del g
            gradients = tuple(tape.new(*size) for size in sizes)
            self._look(sizes[0][1], further=4)
            return gradients

        return tape.result(out, inputs, tuple(x.storage for x in inputs), back)

    def _look(self, item: int, further: int) -> None:
        """Where a stretch of one row looks, by head, and as many tensors of that size made of it, beside the
        directions of the row's tokens."""
        tape, c = self.tape, self.c
        looks = min(STRETCH, c.length) * c.length
        rows, directions = (tape.new(c.length * self.shape.hidden, c.base) for _ in range(2))
        del rows
        scores, seen = tape.new(self.shape.pointers * looks, item), tape.new(2 * looks, 1)
        pattern = tape.new(scores.n, item)
        del scores, seen
        made = [tape.new(pattern.n, item) for _ in range(further)]
        summed = tape.new(looks, item)
        del directions, pattern, made, summed

    def _down(self, tap: Tensor, name: str) -> Tensor:
        """A tap made narrow. The product runs in the tap's own dtype; what it keeps may have 8 bits."""
        tape, shape, tokens = self.tape, self.shape, self.c.tokens
        if shape.downsampler not in ("adapter", "linear"):
            pooled = tape.new(tokens * shape.width, tap.item)
            return tape.result(tape.new(pooled.n, pooled.item), (pooled,), None, lambda g: (g,))
        first = shape.rank if shape.downsampler == "adapter" else shape.width
        spread = tape.new(tokens, tap.item)
        narrow = self._narrowed(tap, name, first)
        narrow = tape.result(
            tape.new(narrow.n, narrow.item), (narrow,), spread.storage, lambda g: (tape.new(g.n, g.item),)
        )
        if shape.downsampler == "linear":
            return narrow
        inner = unary(tape, narrow, "input")
        del narrow
        return self._thin(inner, f"{name}.second", shape.rank, shape.width, tap.item)

    def _narrowed(self, tap: Tensor, name: str, width: int) -> Tensor:
        tape, shape = self.tape, self.shape
        n = shape.hidden * width
        leaf = self.c.leaf(tape, f"{name}.first")
        kept: object = tap.storage
        if shape.tap_bits == 8 and tape.saving:
            scaled = tape.new(tap.n, tap.item)
            kept = (tape.new(tap.n, 1).storage, tape.new(tap.n // 64, tap.item).storage)
            del scaled
        size, item = tap.n, tap.item

        def back(g: Tensor) -> tuple[Tensor]:
            del g
            dense = tape.new(size, item) if shape.tap_bits == 8 else None
            out = tape.new(n, item)
            del dense
            return (out,)

        weight = Tensor(n, item, None, leaf)
        return tape.result(tape.new(self.c.tokens * width, item), (weight,), kept, back)

    def _thin(self, x: Tensor, name: str, inputs: int, outputs: int, item: int) -> Tensor:
        """A small product in the tap's dtype."""
        tape = self.tape
        weight = Tensor(inputs * outputs, item, None, self.c.leaf(tape, name))
        n = x.n
        return tape.result(
            tape.new(x.n // inputs * outputs, item),
            (x, weight),
            x.storage,
            lambda g: (tape.new(n, g.item), tape.new(inputs * outputs, g.item)),
        )

    def _lerp(self, narrow: Tensor, state: Tensor, gate: Tensor) -> Tensor:
        tape = self.tape
        size, item = narrow.n, narrow.item
        saved = (narrow.storage, state.storage)

        def back(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            for_gate = tape.new(size, item)
            del for_gate, g
            return tape.new(size, item), tape.new(size, item), tape.new(1, item)

        return tape.result(tape.new(size, item), (narrow, state, gate), saved, back)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """torch's own RMS norm: one kernel on a GPU, on a processor written out in 32 bit."""
        tape, width, item = self.tape, self.shape.width, x.item
        weight = Tensor(width, item, None, self.c.leaf(tape, name))
        if not self.c.cuda:
            return cast(tape, rms(tape, cast(tape, x, 4), weight, x.n // width), item)
        if self.c.wide:
            x, weight, item = cast(tape, x, 4), cast(tape, weight, 4), 4
        stats, n = tape.new(x.n // width, 4), x.n
        return tape.result(
            tape.new(n, item),
            (x, weight),
            (x.storage, stats.storage),
            lambda _: (tape.new(n, item), tape.new(width, item)),
        )

    def _block(self, x: Tensor, number: int) -> Tensor:
        tape, c, w, inner = self.tape, self.c, self.shape.width, self.shape.inner
        read = self._norm(x, f"{number}.attention_norm")
        query, key, value = (product(tape, c, read, f"{number}.{name}", w, w) for name in ("q", "k", "v"))
        del read
        query, key = self._turned(query), self._turned(key)
        mixed = self._attend(query, key, value)
        del query, key, value
        x = add(tape, x, product(tape, c, mixed, f"{number}.out", w, w))
        del mixed
        read = self._norm(x, f"{number}.mlp_norm")
        gate = unary(tape, product(tape, c, read, f"{number}.gate", w, inner), "input")
        middle = mul(tape, gate, product(tape, c, read, f"{number}.up", w, inner))
        del gate, read
        return add(tape, x, product(tape, c, middle, f"{number}.down_out", inner, w))

    def _turned(self, x: Tensor) -> Tensor:
        tape = self.tape
        fixed = Tensor(1, x.item, None)
        straight = mul(tape, x, fixed)
        turned = scale(tape, x)
        return add(tape, straight, mul(tape, turned, fixed))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tape = self.tape
        sums = tape.new(self.c.tokens * self.shape.heads, 4)
        out = tape.new(query.n, query.item)
        saved = (query.storage, key.storage, value.storage, out.storage, sums.storage)
        n, item = query.n, query.item
        return tape.result(
            out,
            (query, key, value),
            saved,
            lambda _: (tape.new(n, item), tape.new(n, item), tape.new(n, item)),
        )
