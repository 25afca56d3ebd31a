"""How a model computes, and its products and dropout on a tape of sizes, operation by operation after torch.
No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from studio.memory.operations import cast, mul, unary
from studio.memory.tape import Node, Storage, Tape, Tensor
from studio.models.config import ModelFacts
from studio.models.forms import Form, form_of
from studio.models.windows import narrowed


@dataclass
class Compute:
    """How a model computes: sizes of numbers, what trains, and which kernels run.

    `base` and `trained` are bytes per number of frozen and of trained weights; `ranks` are those of the
    adapters as `studio.methods.MethodMemory` has them. `leaves` are the trained tensors met so far, by name;
    `kept` lives until the backward pass is over.
    """

    facts: ModelFacts
    rows: int
    length: int
    base: int
    trained: int
    trains_base: bool = False
    linears_train: bool = False  # of the base those of its layers alone
    autocast: bool = False
    quantised: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    dropout: bool = False
    dora: bool = False
    cuda: bool = False
    kernel: str = "sdpa"
    frozen_layers: int = 0
    norms: int | None = None  # bytes per weight of a norm, where it is not `base`
    embedded: int | None = None  # bytes per number of the embeddings, where it is not `base`
    kernels: frozenset[str] = frozenset()
    shards: int = 1  # that gradients are split into as they come
    gradients: int | None = None  # bytes per number of what is kept of them, where it is not `trained`
    leaves: dict[str, Node] = field(default_factory=dict)
    casts: dict[str, Storage] = field(default_factory=dict)
    kept: list[Storage | None] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def narrow(self) -> int:
        """The width of the token table and of what the head reads."""
        return self.facts.own.get("word_embed_proj_dim") or self.facts.hidden

    @property
    def wide(self) -> bool:
        """Whether a GPU's autocast computes in 32 bit what is on its list (`studio.memory.autocast`)."""
        return self.autocast and self.cuda

    @cached_property
    def form(self) -> Form:
        """How the family builds a layer."""
        return form_of(self.facts)

    def rank(self, path: str, role: str) -> int | None:
        """Of the adapter beside a layer's linear layer with this role, None if it has none."""
        keys = (f"{path}.{role}", role, "*")
        return next((self.ranks[key] for key in keys if key in self.ranks), None)

    def adapts(self, number: int) -> bool:
        """Whether a layer has adapters."""
        layers = [key.partition(".")[0] for key in self.ranks]
        return any(not layer.isdigit() or int(layer) == number for layer in layers)

    def trains(self, path: str) -> bool:
        """Whether the base's own weights at this path train."""
        number = path.partition(".")[0]
        return self.trains_base and not (number.isdigit() and int(number) < self.frozen_layers)

    def masked(self, number: int) -> bool:
        """Whether the kernel is told which positions see which: torch's own knows no windows."""
        return self.kernel == "sdpa" and narrowed(self.facts, number, self.length)

    def again(self, tape: Tape, out: Tensor) -> Tensor:
        """The result of what a checkpoint ran. In the backward pass autocast ends with it, and drops the
        16-bit copies that it keeps in the forward pass."""
        if tape.saving:
            self.casts.clear()
        return out

    def leaf(self, tape: Tape, name: str, item: int | None = None) -> Node:
        """Where the gradients of a trained tensor go, of `item` bytes per number if not of `trained`."""
        if name not in self.leaves:
            self.leaves[name] = tape.leaf(item or self.gradients or self.trained, self.shards)
        return self.leaves[name]


def frozen(
    tape: Tape, c: Compute, x: Tensor, inputs: int, outputs: int, whole: Tensor | None = None
) -> Tensor:
    """A product with a weight that gets no gradient: x is not kept for it. A 4-bit layer computes in 16
    bit and returns what it was given, unless its weight is there already as a `whole` one."""
    given, packed = x.item, c.quantised and whole is None
    if c.autocast or (packed and c.base == 2):
        x = cast(tape, x, 2)
    n, item, size = x.n, x.item, inputs * outputs * x.item
    kept = cast(tape, whole, item).storage if whole else None
    if packed and "inputs" in c.kernels:
        kept = x.storage
    spread = tape.held(size, "workspace") if packed and c.cuda else None
    out = tape.new(n // inputs * outputs, item)
    del spread

    def back(g: Tensor) -> tuple[Tensor]:
        spread = tape.held(size, "workspace") if packed else None
        gradient = tape.new(n, g.item)
        del spread
        return (gradient,)

    # A weight in 16 bit is kept as well; it is there anyway.
    out = tape.result(out, (x,), kept if packed else (kept, size), back)
    return cast(tape, out, given) if packed else out


def product(tape: Tape, c: Compute, x: Tensor, name: str, inputs: int, outputs: int) -> Tensor:
    """A product with a trained weight, which keeps its input."""
    weight = Tensor(inputs * outputs, c.trained, None, c.leaf(tape, name))
    if c.autocast:
        x = cast(tape, x, 2)
        weight = _cast_weight(tape, c, weight, name)
    out = tape.new(x.n // inputs * outputs, x.item)
    wanted, n, item = x.node is not None, x.n, x.item

    def back(g: Tensor) -> tuple[Tensor | None, Tensor]:
        for_x = tape.new(n, g.item) if wanted else None
        return for_x, tape.new(inputs * outputs, item)

    return tape.result(out, (x, weight), (x.storage, weight.storage), back)


def _cast_weight(tape: Tape, c: Compute, weight: Tensor, name: str) -> Tensor:
    """Autocast keeps the 16-bit copy of a trained weight until the forward pass is over."""
    if c.trained == 2:
        return weight
    if name not in c.casts:
        storage = tape.new(weight.n, 2).storage
        assert storage is not None
        c.casts[name] = storage
    out = Tensor(weight.n, 2, c.casts[name])
    return tape.result(out, (weight,), None, lambda g: (tape.new(g.n, 4),))


def drop(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """Dropout: the studio's own on a processor, torch's on a GPU."""
    if c.cuda:
        return tape.result(
            tape.new(x.n, x.item), (x,), tape.new(x.n, 1).storage, lambda g: (tape.new(g.n, g.item),)
        )
    draws = tape.new(x.n, 2)
    kept = unary(tape, tape.new(x.n, 1), "nothing", item=x.item)
    out = mul(tape, x, kept)
    del draws
    return out


def dropped(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """torch's dropout: on a processor a factor for each number, in its dtype."""
    if c.cuda:
        return drop(tape, c, x)
    return mul(tape, x, Tensor(x.n, x.item, tape.new(x.n, x.item).storage))


def copied(tape: Tape, x: Tensor) -> Tensor:
    """The same numbers in new bytes."""
    return tape.result(tape.new(x.n, x.item), (x,), None, lambda g: (g,))
