"""The memory of a training step by arithmetic: milliseconds, no torch.

A step of the model runs on a tape of sizes (`studio.memory.tape`), with few layers twice; what grows with
the number of layers grows evenly, so the peak of any depth follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from studio.memory.head import Head
from studio.memory.ladder import LadderTape
from studio.memory.layers import Compute, decoder_layer, normed
from studio.memory.need import Need
from studio.memory.switches import STUDIO, Switches
from studio.memory.tape import PARTS, Tape, Tensor, checkpointed, scale
from studio.methods import Method, MethodMemory, trained_itemsize
from studio.models.config import ModelFacts
from studio.models.quantisation import quantised_bytes
from studio.plan import Plan, methods

_SHORT, _LONGER = 4, 5  # layers that are computed; the first two and the last two differ from the rest


@dataclass
class _Step:
    """One training step with a given number of layers."""

    plan: Plan
    facts: ModelFacts
    method: Method
    terms: MethodMemory
    learned: float
    layers: int
    switches: Switches = STUDIO

    def __post_init__(self) -> None:
        settings = self.plan.settings
        assert settings.batch is not None
        assert settings.seq is not None
        trains = self.method.capable("trains_base", self.plan.method_params)
        whole = settings.precision == "fp32"
        quantised = self.method.base_quantisation(self.plan.method_params) is not None
        self.tape = Tape()
        self.c = Compute(
            facts=self.facts,
            rows=settings.batch,
            length=settings.seq,
            base=4 if whole or (settings.precision == "mixed" and trains) else 2,
            trained=trained_itemsize(settings),
            trains_base=trains,
            autocast=settings.precision == "mixed",
            quantised=quantised,
            ranks=self.terms.ranks,
            dropout=self.terms.dropout,
            cuda=(settings.device or "cpu").startswith("cuda"),
            kernel=settings.attention,
            frozen_layers=self.terms.frozen_layers,
            norms=4 if self.switches.kbit_casts != "no" else None,
            kernels=self.switches.kernels,
        )

    def run(self) -> dict[str, list[int]]:
        """Peaks by place and part, without what lives all the time."""
        tape = self.tape
        with tape.at("forward"):
            tokens = tape.new(3 * self.c.tokens, 8)
            loss = self._ladder() if self.terms.side else self._forward()
            self.c.casts.clear()
        with tape.at("backward"):
            tape.backward(loss, tape.new(1, 4))
        del tokens
        with tape.at("optimizer step"):
            held = tape.held(self._scratch(), "workspace")
            del held
        return tape.peaks

    def _scratch(self) -> int:
        """Bytes that the optimizer makes and drops again while it steps."""
        impl = self.plan.settings.optimizer_impl
        sizes = [prod(shape) * self.c.trained for shape in self.terms.trainable] or [0]
        return sum(sizes) if impl == "foreach" else 0 if impl == "fused" else max(sizes)

    def _embedded(self) -> Tensor:
        tape, c = self.tape, self.c
        size = c.facts.vocab * c.facts.hidden
        out = tape.new(c.tokens * c.facts.hidden, c.base)
        if self.terms.trains_embeddings:
            leaf = c.leaf(tape, "head" if c.facts.tied else "embeddings")
            table = Tensor(size, c.trained, None, leaf)
            out = tape.result(out, (table,), None, lambda g: (tape.new(size, g.item),))
        if c.form.norm == "gemma" or c.form.scaled:
            out = scale(tape, out)
        return out

    def _forward(self) -> Tensor:
        tape, c = self.tape, self.c
        embedded = self._embedded()
        turns = tape.new(2 * c.length * c.facts.head_dim, embedded.item)
        state = embedded
        for number in range(self.layers):
            with tape.at(self._place(number)):
                state = self._layer(state, number)
        final = normed(tape, c, state, "final", c.facts.hidden)
        del state, embedded, turns
        return self._loss(final)

    def _loss(self, final: Tensor) -> Tensor:
        settings = self.plan.settings
        head = Head(self.c, self.terms.trains_head, settings.loss_kernel, self.switches)
        labelled = max(1, round(self.learned * self.c.length)) * self.c.rows
        self.kept = head.outputs
        return head.loss(self.tape, final, labelled)

    def _layer(self, state: Tensor, number: int) -> Tensor:
        if not self.plan.settings.gradient_checkpointing:
            return decoder_layer(self.tape, self.c, state, str(number))

        def run(x: Tensor) -> Tensor:
            with self.tape.at(self._place(number)):
                return decoder_layer(self.tape, self.c, x, str(number))

        trains = bool(self.c.ranks) or number >= self.c.frozen_layers
        return checkpointed(self.tape, run, state, trains)

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
        embedded = self._embedded()
        climbed, hidden = ladder.first(embedded), embedded
        rung = 0
        every = max(1, self.facts.layers // max(1, len(shape.taps)))
        for number in range(self.layers):
            with tape.without_graph():
                hidden = decoder_layer(tape, backbone, hidden, str(number))
            if self._tapped(number, every):
                climbed = ladder.rung(climbed, hidden, rung)
                rung += 1
        with tape.without_graph():
            final = normed(tape, backbone, hidden, "final", c.facts.hidden)
        del hidden, embedded
        return self._loss(ladder.output(climbed, final, self.terms.side_mixed))

    def _tapped(self, number: int, every: int) -> bool:
        shape = self.terms.side
        assert shape is not None
        if len(shape.taps) == self.facts.layers:
            return True
        return number in shape.taps or (every > 1 and number % every == 0)


def _read_only(c: Compute) -> Compute:
    """The backbone beneath a side network."""
    return replace(c, ranks={}, trains_base=False, autocast=False)


def estimate(plan: Plan, facts: ModelFacts, learned: float = 0.5) -> Need:
    """What one step of a resolved plan needs on the model with these sizes. `learned`: the share of a row's
    tokens that carry loss."""
    method = methods.get(plan.method)
    terms = method.memory(facts, plan.method_params, plan.settings)
    lasting = _lasting(plan, facts, method, terms)
    peaks = _peaks(plan, facts, method, terms, learned)
    place, parts = max(peaks.items(), key=lambda entry: sum(entry[1].values()))
    whole = {name: parts.get(name, 0) + lasting.get(name, 0) for name in (*PARTS, "context")}
    total = sum(whole.values())
    return Need("estimate", {k: v for k, v in whole.items() if v}, place, (total, total))


def _lasting(plan: Plan, facts: ModelFacts, method: Method, terms: MethodMemory) -> dict[str, int]:
    assert facts.parameters is not None
    settings = plan.settings
    trains = method.capable("trains_base", plan.method_params)
    item = 4 if settings.precision == "fp32" or (settings.precision == "mixed" and trains) else 2
    quantisation = method.base_quantisation(plan.method_params)
    weights = (
        quantised_bytes(facts, facts.parameters, quantisation, item)
        if quantisation
        else facts.parameters * item
    )
    adapter = 0 if trains else terms.trained_bytes
    state = plan.optimizer.state_bytes(terms.trainable, trained_itemsize(settings), plan.optimizer_params)
    return {"weights": weights, "adapter": adapter, "optimizer": state}


def _peaks(
    plan: Plan, facts: ModelFacts, method: Method, terms: MethodMemory, learned: float
) -> dict[str, dict[str, int]]:
    """Peaks by place and part for the model's own number of layers."""
    if facts.layers <= _LONGER:
        found = _Step(plan, facts, method, terms, learned, facts.layers).run()
        return {place: dict(zip(PARTS, sizes, strict=True)) for place, sizes in found.items()}
    short = _Step(plan, facts, method, terms, learned, _SHORT).run()
    longer = _Step(plan, facts, method, terms, learned, _LONGER).run()
    more = facts.layers - _SHORT
    return {
        place: {
            name: low + more * (high - low)
            for name, low, high in zip(PARTS, sizes, longer[place], strict=True)
        }
        for place, sizes in short.items()
    }
