"""One training step on a tape of sizes: from tokens to the loss, back again, and the optimizer. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from studio.memory.decoder import decoder_layer
from studio.memory.embedding import embedded, projected
from studio.memory.head import Head
from studio.memory.ladder import LadderTape
from studio.memory.layers import Compute
from studio.memory.norms import normed
from studio.memory.operations import checkpointed
from studio.memory.takings import Takings
from studio.memory.tape import Tape, Tensor
from studio.memory.workload import Workload


@dataclass
class Step:
    """One training step. With fewer `layers` than the model has (`WRITTEN` of them, all alike) its peaks are
    those of the whole model; a `log` has the passes forward and back of those that ran."""

    work: Workload
    layers: int
    log: Takings | None = None

    def __post_init__(self) -> None:
        self.tape = Tape(self.log, more=self.work.facts.layers - self.layers)
        self.c = _compute(self.work)
        self.settings, self.terms = self.work.plan.settings, self.work.terms

    def run(self) -> dict[str, list[int]]:
        """Peaks by place and part, without what lives all the time."""
        tape = self.tape
        with tape.at("forward"):
            tokens = tape.new(3 * self.c.tokens, 8)
            loss = self._ladder() if self.terms.side else self._forward()
            self.c.casts.clear()
        with tape.at("backward"):
            tape.backward(loss, tape.new(1, 4))
            self.c.kept.clear()
        del tokens
        tape.log = None
        with tape.at("optimizer step"):
            held = [tape.held(size, "workspace") for size in scratch(self.work)]
            del held
        return tape.peaks

    def _forward(self) -> Tensor:
        tape, c = self.tape, self.c
        state, held = embedded(tape, c, self.terms, self.settings.gradient_checkpointing)
        turns = tape.new(2 * c.length * c.facts.head_dim, state.item)
        for number in range(self.layers):
            tape.next_part()
            with tape.at(self._place(number)):
                state = self._layer(state, number)
        tape.next_part()
        if c.form.last_norm:
            state = normed(tape, c, state, "final", c.facts.hidden)
        if c.narrow != c.facts.hidden:
            state = projected(tape, c, state, "project_out", c.facts.hidden, c.narrow)
        del held, turns
        return self._loss(state)

    def _loss(self, final: Tensor) -> Tensor:
        head = Head(self.c, self.terms.trains_head, self.settings.loss_kernel, self.work.switches)
        labelled = max(1, round(self.work.learned * self.c.length)) * self.c.rows
        self.kept = head.outputs
        return head.loss(self.tape, final, labelled)

    def _layer(self, state: Tensor, number: int) -> Tensor:
        if not self.settings.gradient_checkpointing:
            return decoder_layer(self.tape, self.c, state, str(number))

        def run(x: Tensor) -> Tensor:
            with self.tape.at(self._place(number)):
                return self.c.again(self.tape, decoder_layer(self.tape, self.c, x, str(number)))

        trains = self.c.adapts(number) if self.c.ranks else number >= self.c.frozen_layers
        return checkpointed(self.tape, run, state, trains, whole=self.work.switches.reentrant)

    def _place(self, number: int) -> str:
        """The first two and the last two layers by name; those between grow evenly from one to the next."""
        if number < 2:
            return f"layer {number}"
        return f"layer {number - self.layers}" if number >= self.layers - 2 else "layers between"

    def _ladder(self) -> Tensor:
        tape, c, shape = self.tape, self.c, self.terms.side
        assert shape is not None
        ladder = LadderTape(tape, c, shape)
        backbone = _read_only(c)
        hidden, held = embedded(tape, c, self.terms, False)
        climbed = ladder.first(hidden)
        for number in range(self.layers):
            tape.next_part()
            with tape.without_graph():
                hidden = decoder_layer(tape, backbone, hidden, str(number))
            if number in shape.taps:
                climbed = ladder.rung(climbed, hidden, number)
        tape.next_part()
        with tape.without_graph():
            final = normed(tape, backbone, hidden, "final", c.facts.hidden)
        del hidden, held
        return self._loss(ladder.output(climbed, final, self.terms.side_mixed))


def scratch(work: Workload) -> list[int]:
    """Bytes that the optimizer makes and drops again while it steps: all at once, or one tensor's."""
    plan, terms = work.plan, work.terms
    if plan.settings.optimizer_impl == "fused":
        return []
    if plan.settings.optimizer_impl == "foreach":
        return [prod(shape) * terms.itemsize for shape in terms.trainable]
    in_order = sorted(terms.trainable, key=lambda shape: len(shape) < 2)
    made = (plan.optimizer.loop_scratch(shape, terms.itemsize, plan.optimizer_params) for shape in in_order)
    return [max(own + kept for (_, kept), (own, _) in pairwise([(0, 0), *made]))]


def _compute(work: Workload) -> Compute:
    settings, switches, terms = work.plan.settings, work.switches, work.terms
    assert settings.batch is not None
    assert settings.seq is not None
    return Compute(
        facts=work.facts,
        rows=settings.batch,
        length=settings.seq,
        base=2 if work.gathers_16_bit else work.base_itemsize,
        embedded=4 if switches.kbit_casts == "all" else None,
        trained=2 if work.gathers_16_bit else terms.itemsize,
        shards=work.shards,
        gradients=terms.itemsize if work.gathers_16_bit else None,
        trains_base=work.trains_base,
        autocast=settings.precision == "mixed" if switches.autocast is None else switches.autocast,
        quantised=work.quantisation is not None,
        ranks=terms.ranks,
        dropout=terms.dropout,
        dora=terms.dora,
        cuda=work.device == "cuda",
        kernel=settings.attention,
        frozen_layers=terms.frozen_layers,
        norms=4 if switches.kbit_casts != "no" else None,
        kernels=switches.kernels,
    )


def _read_only(c: Compute) -> Compute:
    """The backbone beneath a side network."""
    return replace(c, ranks={}, trains_base=False)
