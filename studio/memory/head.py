"""From final hidden states to the loss, on a tape of sizes: the studio's way and those of others."""

from __future__ import annotations

from dataclasses import dataclass, field

from studio.memory.layers import Compute, product
from studio.memory.operations import cast, checkpointed, scale, unary
from studio.memory.switches import Switches
from studio.memory.tape import Storage, Tape, Tensor

CHUNK_BYTES = 256 * 2**20  # of 32-bit logits that live at a time (`studio.train.loss`)
OTHERS = ("full", "fused", "fused_linear")


@dataclass
class Head:
    """The head and the loss. `kernel` is the plan's `loss_kernel`; `outputs` holds what the program keeps
    alive beside the graph."""

    c: Compute
    trained: bool
    kernel: str
    switches: Switches
    outputs: list[Storage | None] = field(default_factory=list)

    def loss(self, tape: Tape, final: Tensor, labelled: int) -> Tensor:
        """Of `labelled` positions, or of all where the kernel makes logits for all. `final` (T * H)."""
        if self.switches.alive_chunks:
            return self._alive_chunks(tape, final, self.switches.alive_chunks * self.c.rows)
        if self.kernel == "fused_linear":
            return self._fused_linear(tape, final)
        if self.kernel in OTHERS:
            return self._whole(tape, final)
        positions = labelled if self.kernel == "labelled" else self.c.tokens
        n, item = final.n, final.item
        states = tape.result(
            tape.new(positions * self.c.narrow, item), (final,), None, lambda g: (tape.new(n, g.item),)
        )
        del final
        size = max(1, CHUNK_BYTES // (4 * self.c.facts.vocab))
        out = (
            self._entropy(tape, states)
            if positions <= size
            else self._in_chunks(tape, states, positions, size)
        )
        del states
        return unary(tape, out, "nothing", n=1)

    def _in_chunks(self, tape: Tape, states: Tensor, positions: int, size: int) -> Tensor:
        """Chunk by chunk, each made again in the backward pass. One is as the other: three tell of all."""
        hidden, whole, item = self.c.narrow, states.n, states.item
        parts = []

        def again(x: Tensor) -> Tensor:
            return self.c.again(tape, self._entropy(tape, x))

        for start in range(0, min(positions, 3 * size), size):
            chunk = Tensor(min(size, positions - start) * hidden, item, states.storage)
            chunk = tape.result(chunk, (states,), None, lambda g: (tape.new(whole, g.item),))
            parts.append(checkpointed(tape, again, chunk, trains=True))
        sizes = [part.n for part in parts]
        return tape.result(
            tape.new(positions, 4),
            tuple(parts),
            None,
            lambda g: tuple(Tensor(n, 4, g.storage) for n in sizes),
        )

    def _entropy(self, tape: Tape, states: Tensor) -> Tensor:
        """Logits in 32 bit and the cross-entropy of each position."""
        with tape.making("logits"):
            return self._likelihood(tape, cast(tape, self._logits(tape, states), 4))

    def _likelihood(self, tape: Tape, logits: Tensor) -> Tensor:
        """log_softmax, which keeps its result, and the loss picked out of it."""
        item, vocab = logits.item, self.c.facts.vocab
        likely = unary(tape, logits, "output")
        del logits
        size = likely.n
        losses = tape.new(size // vocab, 4)
        return tape.result(losses, (likely,), likely.storage, lambda _: (_made(tape, size, item),))

    def _logits(self, tape: Tape, states: Tensor) -> Tensor:
        """The head's product, capped where the family does."""
        c, hidden, vocab = self.c, self.c.narrow, self.c.facts.vocab
        if self.trained:
            logits = product(tape, c, states, "head", hidden, vocab)
        else:
            wide = self.switches.kbit_casts == "all" and not c.autocast
            states = cast(tape, states, 2) if c.autocast else cast(tape, states, 4 if wide else states.item)
            n, item = states.n, states.item
            logits = tape.new(n // hidden * vocab, item)
            logits = tape.result(logits, (states,), None, lambda g: (tape.new(n, g.item),))
        del states
        if c.form.capped:
            logits = scale(tape, unary(tape, scale(tape, logits), "output"))
        return logits

    def _whole(self, tape: Tape, final: Tensor) -> Tensor:
        """Logits of all positions at once, as transformers' own models make them."""
        s, c = self.switches, self.c
        with tape.making("logits"):
            logits = self._logits(tape, final)
            del final
            if s.upcast == "forward":
                logits = cast(tape, logits, 4)
            shown = logits
            del logits
            raised = shown if s.upcast == "no" else cast(tape, shown, 4)  # both live until the loss is known
            shifted = self._shifted(tape, raised) if s.shift_copy else raised
            wide = cast(tape, shifted, 4) if c.autocast and self.kernel != "fused" else shifted
            out = self._in_place(tape, wide) if self.kernel == "fused" else self._likelihood(tape, wide)
            del wide, shifted, raised
            if s.outputs_fp32:
                shown = cast(tape, Tensor(shown.n, shown.item, shown.storage), 4)
        if s.outputs_alive:
            self.outputs.append(shown.storage)
        del shown
        return unary(tape, out, "nothing", n=1)

    def _shifted(self, tape: Tape, logits: Tensor) -> Tensor:
        """A copy without each row's last position; its gradient is put into one of the whole."""
        n, rest = logits.n, logits.n // self.c.length * (self.c.length - 1)
        return tape.result(tape.new(rest, logits.item), (logits,), None, lambda g: (_made(tape, n, g.item),))

    def _in_place(self, tape: Tape, logits: Tensor) -> Tensor:
        """One kernel that keeps the logits, and later overwrites them with their gradient."""
        n, item, storage = logits.n, logits.item, logits.storage
        losses = tape.new(n // self.c.facts.vocab, 4)
        return tape.result(losses, (logits,), storage, lambda _: (Tensor(n, item, storage),))

    def _fused_linear(self, tape: Tape, final: Tensor) -> Tensor:
        """Liger's: the gradient of the hidden states is made in the forward pass, chunk by chunk."""
        c, hidden, vocab = self.c, self.c.narrow, self.c.facts.vocab
        rest = final.n // c.length * (c.length - 1) if self.switches.shift_copy else final.n
        n, item = final.n, final.item
        source = Tensor(n, item, None, final.node)
        states = tape.new(rest, item) if self.switches.shift_copy else final
        del final
        gradient = tape.new(rest, item)
        positions = rest // hidden
        chunk = 1 << (max(1, -(-positions // -(-vocab // hidden))) - 1).bit_length()
        size = min(chunk, positions) * vocab
        weight = Tensor(0, c.trained, None)
        if self.trained:
            weight.node = c.leaf(tape, "head")
        table = tape.new(hidden * vocab, c.trained) if self.trained else None
        with tape.making("logits"):
            logits, wide = tape.new(size, 2), tape.new(size, 4)
            back = tape.new(size, 2)
        del logits, wide, back
        del states
        out = tape.new(1, 4)
        return tape.result(out, (source, weight), gradient.storage, lambda _: (tape.new(n, item), table))

    def _alive_chunks(self, tape: Tape, final: Tensor, size: int) -> Tensor:
        """Chunks of logits that all stay, each with a loss of its own (litgpt). The losses are made when all
        logits are there, so their gradients come first, all of them."""
        hidden, whole, item = self.c.narrow, final.n, final.item
        chunks, parts = [], []
        with tape.making("logits"):
            for start in range(0, self.c.tokens, size):
                chunk = Tensor(min(size, self.c.tokens - start) * hidden, item, final.storage)
                chunk = tape.result(chunk, (final,), None, lambda g: (tape.new(whole, g.item),))
                logits = self._logits(tape, chunk)
                chunks.append(cast(tape, logits, 4) if self.switches.upcast == "forward" else logits)
                self.outputs.append(chunks[-1].storage)
            del chunk, logits, final
            while chunks:
                parts.append(self._likelihood(tape, chunks.pop(0)))
        sizes = [part.n for part in parts]
        return tape.result(
            tape.new(1, 4), tuple(parts), None, lambda g: tuple(Tensor(n, g.item, g.storage) for n in sizes)
        )


def _made(tape: Tape, n: int, item: int) -> Tensor:
    with tape.making("logits"):
        return tape.new(n, item)
