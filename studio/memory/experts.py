"""A mixture of experts on a tape of sizes: Mixtral's router and its grouped products.

Every token goes to the same number of experts, so sizes don't depend on which.
"""

from __future__ import annotations

from studio.memory.layers import Compute, frozen, product
from studio.memory.operations import cast, mul, split, unary
from studio.memory.tape import Tape, Tensor


def experts(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """The feed-forward part of a layer whose tokens choose their experts."""
    d = c.facts
    rows = c.tokens * d.own["num_experts_per_tok"]
    scores = _routed(tape, c, x, path, rows)
    chosen = _picked(tape, x, rows * d.hidden, rows)
    gate, up = split(tape, _grouped(tape, c, chosen, f"{path}.experts.up", d.hidden, 2 * d.intermediate), 2)
    middle = mul(tape, unary(tape, gate, "input"), up)
    del gate, up
    out = _grouped(tape, c, middle, f"{path}.experts.down", d.intermediate, d.hidden)
    del middle
    weighted = mul(tape, out, scores)
    weighted = _picked(tape, weighted, weighted.n, rows)
    return cast(tape, unary(tape, weighted, "nothing", n=x.n), x.item)


def _routed(tape: Tape, c: Compute, x: Tensor, path: str, rows: int) -> Tensor:
    """The weight of each choice; the logits stay for the routers' own loss, which keeps their softmax."""
    count: int = c.facts.own["num_local_experts"]
    if c.trains(path):
        logits = product(tape, c, x, f"{path}.router", c.facts.hidden, count)
    else:
        logits = frozen(tape, c, x, c.facts.hidden, count)
    c.kept += [logits.storage, tape.new(logits.n, logits.item).storage]
    likely = unary(tape, cast(tape, logits, 4), "output")
    n, choices = likely.n, tape.new(rows, 8)
    return tape.result(tape.new(rows, 4), (likely,), choices.storage, lambda _: (tape.new(n, 4),))


def _picked(tape: Tape, x: Tensor, n: int, rows: int) -> Tensor:
    """Rows of x in another order, or repeated; keeps which."""
    size, item, which = x.n, x.item, tape.new(rows, 8)
    return tape.result(tape.new(n, item), (x,), which.storage, lambda _: (tape.new(size, item),))


def _grouped(tape: Tape, c: Compute, x: Tensor, name: str, inputs: int, outputs: int) -> Tensor:
    """Each expert's product with its own rows, in its weights' dtype whatever autocast says."""
    count: int = c.facts.own["num_local_experts"]
    trains = c.trains(name)
    x = cast(tape, x, c.trained if trains else c.base)
    n, item = x.n, x.item
    weight = Tensor(count * inputs * outputs, item, None, c.leaf(tape, name) if trains else None)
    out, size, wanted = tape.new(n // inputs * outputs, item), weight.n, x.node is not None

    def back(g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        for_weight = tape.new(size, item) if trains else None
        return tape.new(n, g.item) if wanted else None, for_weight

    return tape.result(out, (x, weight), x.storage if trains else None, back)
