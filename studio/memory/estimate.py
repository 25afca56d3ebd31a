"""The memory of a training step by arithmetic: milliseconds, no torch.

A step of the model runs on a tape of sizes (`studio.memory.tape`), with few layers twice; what grows with
the number of layers grows evenly, so the peak of any depth follows. A side network that leaves layers out
does not grow evenly: it runs with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import prod

from studio.memory.beginning import begun
from studio.memory.decoder import decoder_layer
from studio.memory.embedding import embedded, projected
from studio.memory.head import Head
from studio.memory.ladder import LadderTape
from studio.memory.layers import Compute, normed
from studio.memory.need import Need, blas_workspace
from studio.memory.reserved import context, interval
from studio.memory.sharding import Sharding, per_device
from studio.memory.switches import STUDIO, Switches
from studio.memory.takings import Takings
from studio.memory.tape import PARTS, Tape, Tensor, checkpointed
from studio.methods import Method, MethodMemory
from studio.models.config import ModelFacts
from studio.models.quantisation import Quantisation, quantised_bytes
from studio.plan import Plan, methods

_SHORT, _LONGER = 4, 5  # layers that are computed; the first two and the last two differ from the rest


@dataclass
class Step:
    """One training step with a given number of layers."""

    plan: Plan
    facts: ModelFacts
    method: Method
    terms: MethodMemory
    learned: float
    layers: int
    switches: Switches = STUDIO
    log: Takings | None = None

    def __post_init__(self) -> None:
        settings = self.plan.settings
        assert settings.batch is not None
        assert settings.seq is not None
        trains = self.method.capable("trains_base", self.plan.method_params)
        whole = settings.precision == "fp32"
        quantised = self.method.base_quantisation(self.plan.method_params) is not None
        auto = self.switches.autocast
        self.tape = Tape(self.log)
        self.c = Compute(
            facts=self.facts,
            rows=settings.batch,
            length=settings.seq,
            base=4 if whole or (settings.precision == "mixed" and trains) else 2,
            embedded=4 if self.switches.kbit_casts == "all" else None,
            trained=self.terms.itemsize,
            trains_base=trains,
            autocast=settings.precision == "mixed" if auto is None else auto,
            quantised=quantised,
            ranks=self.terms.ranks,
            dropout=self.terms.dropout,
            dora=self.terms.dora,
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
            self.c.kept.clear()
        del tokens
        tape.log = None
        with tape.at("optimizer step"):
            held = [tape.held(size, "workspace") for size in self.scratch()]
            del held
        return tape.peaks

    def scratch(self) -> list[int]:
        """Bytes that the optimizer makes and drops again while it steps: all at once, or one tensor's."""
        impl = self.plan.settings.optimizer_impl
        sizes = [prod(shape) * self.c.trained for shape in self.terms.trainable] or [0]
        share = self.layers / self.facts.layers
        if impl == "foreach":
            return (
                [round(size * share) for size in sizes]
                if self.layers == self.facts.layers
                else [round(sum(sizes) * share)]
            )
        if impl == "fused":
            return []
        in_order = sorted(self.terms.trainable, key=lambda shape: len(shape) < 2)
        scratch = partial(self.plan.optimizer.loop_scratch, params=self.plan.optimizer_params)
        each = [(0, 0), *(scratch(shape, self.c.trained) for shape in in_order)]
        return [max(own + kept for (_, kept), (own, _) in pairwise(each))]

    def _forward(self) -> Tensor:
        tape, c = self.tape, self.c
        state, held = embedded(tape, c, self.terms, self.plan.settings.gradient_checkpointing)
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
                return self.c.again(self.tape, decoder_layer(self.tape, self.c, x, str(number)))

        trains = bool(self.c.ranks) or number >= self.c.frozen_layers
        return checkpointed(self.tape, run, state, trains, whole=self.switches.reentrant)

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


def _read_only(c: Compute) -> Compute:
    """The backbone beneath a side network."""
    return replace(c, ranks={}, trains_base=False, autocast=False)


def estimate(
    plan: Plan,
    facts: ModelFacts,
    learned: float = 0.5,
    switches: Switches = STUDIO,
    capacity: int | None = None,
    devices: int = 1,
    sharding: Sharding = "ddp",
) -> Need:
    """What one step of a resolved plan needs on the model with these sizes.

    `learned`: the share of a row's tokens that carry loss; `switches`: what another program would do
    otherwise; `capacity`: bytes that the device has in all, beyond which an allocator gives back what it
    holds unused. With several `devices` the result is that of each.
    """
    method = methods.get(plan.method)
    terms = method.memory(facts, plan.method_params, plan.settings)
    lasting = lasting_bytes(plan, facts, method, terms, switches)
    peaks = _peaks(plan, facts, method, terms, learned, switches)
    moments = {
        place: {name: parts.get(name, 0) + lasting.get(name, 0) for name in PARTS}
        for place, parts in peaks.items()
    }
    moments["start"] = dict.fromkeys(PARTS, 0) | begun(plan, facts, terms, lasting["weights"])
    place, alone = max(moments.items(), key=lambda entry: sum(entry[1].values()))
    gradients = terms.trainable_params * terms.itemsize
    whole = per_device(alone, facts, gradients, devices, sharding)
    step = partial(Step, plan, facts, method, terms, learned, switches=switches)
    tensors = sum(whole.values())
    # What several devices exchange is not played back: it is more or less than what one would take.
    beside = tensors - sum(alone.values())
    taken = partial(interval, plan, facts, terms, lasting, step, tensors, beside, capacity)
    whole["context"] = context(plan)
    return Need("estimate", {name: size for name, size in whole.items() if size}, place, taken)


def lasting_bytes(
    plan: Plan, facts: ModelFacts, method: Method, terms: MethodMemory, switches: Switches
) -> dict[str, int]:
    """What lives throughout a step after the first."""
    assert facts.parameters is not None
    settings = plan.settings
    trains = method.capable("trains_base", plan.method_params)
    item = 4 if settings.precision == "fp32" or (settings.precision == "mixed" and trains) else 2
    quantisation = method.base_quantisation(plan.method_params)
    if quantisation:
        wide = 4 if switches.kbit_casts == "all" else item
        weights = quantised_bytes(facts, facts.parameters, quantisation, wide)
        if switches.experts_quantised:
            experts = facts.layers * facts.own["num_local_experts"] * 3 * facts.hidden * facts.intermediate
            weights -= int(experts * (wide - quantisation.bits_per_weight / 8))
    else:
        frozen = facts.parameters - terms.trainable_params if trains else 0
        weights = facts.parameters * item - (frozen * 2 if settings.precision == "mixed" else 0)
    weights += _beside(facts, quantisation, 4 if settings.precision == "fp32" else 2)
    if switches.kbit_casts == "norms":
        weights += 2 * facts.hidden * (2 * facts.layers + 1)
    adapter = 0 if trains else terms.trained_bytes
    state = plan.optimizer.state_bytes(terms.trainable, terms.itemsize, plan.optimizer_params)
    return {
        "weights": weights,
        "adapter": adapter,
        "optimizer": state if switches.state_at_peak else 0,
        "workspace": blas_workspace(settings.device, handles=2),  # of the forward thread and autograd's
    }


def _beside(facts: ModelFacts, quantisation: Quantisation | None, item: int) -> int:
    """Weights of towers that are loaded with the text's: frozen, their matrices in 4 bit where its are."""
    matrices, rest = facts.beside
    held = int(matrices * quantisation.bits_per_weight / 8) if quantisation else matrices * item
    return held + rest * item


def _peaks(
    plan: Plan,
    facts: ModelFacts,
    method: Method,
    terms: MethodMemory,
    learned: float,
    switches: Switches,
) -> dict[str, dict[str, int]]:
    """Peaks by place and part for the model's own number of layers."""
    if not terms.alike(facts.layers) or facts.layers <= _LONGER:
        found = Step(plan, facts, method, terms, learned, facts.layers, switches).run()
        return {place: dict(zip(PARTS, sizes, strict=True)) for place, sizes in found.items()}
    short = Step(plan, facts, method, terms, learned, _SHORT, switches).run()
    longer = Step(plan, facts, method, terms, learned, _LONGER, switches).run()
    more = facts.layers - _SHORT
    return {
        place: {
            name: low + more * (high - low)
            for name, low, high in zip(PARTS, sizes, longer[place], strict=True)
        }
        for place, sizes in short.items()
    }
