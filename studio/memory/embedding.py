"""From tokens to the first layer's input, on a tape of sizes."""

from __future__ import annotations

from studio.memory.layers import Compute, dropped, frozen, product
from studio.memory.operations import add, scale
from studio.memory.tape import Node, Storage, Tape, Tensor
from studio.methods import MethodMemory
from studio.models.windows import window_of


def embedded(
    tape: Tape, c: Compute, terms: MethodMemory, checkpointing: bool
) -> tuple[Tensor, list[Storage | None]]:
    """The first layer's input, and what the model's forward pass holds beside it until its end."""
    d = c.facts
    frozen_table = c.trains_base and c.autocast and not terms.trains_embeddings
    out = tape.new(c.tokens * c.narrow, c.embedded or (2 if frozen_table else c.base))
    if terms.trains_embeddings:
        out = _looked_up(tape, c, out, "head" if d.tied else "embeddings", d.vocab * c.narrow)
    elif checkpointing:
        out.node = _leaf(out)
    if c.form.norm == "gemma" or c.form.scaled:
        out = scale(tape, out)
    if c.narrow != d.hidden:
        out = projected(tape, c, out, "project_in", c.narrow, d.hidden)
    if c.form.masks is not None:
        return out, [out.storage, _mask(tape, c, terms.side is None)]
    if c.form.positions is None:
        return out, [out.storage, *window_masks(tape, c, out.item, checkpointing)]
    rows = c.rows if d.model_type == "opt" else 1
    places = tape.new(rows * c.length * d.hidden, c.base)
    if c.trains_base:
        places = _looked_up(tape, c, places, "positions", ((d.context or 0) + c.form.positions) * d.hidden)
    held = [out.storage, places.storage]
    out = add(tape, out, places)
    return dropped(tape, c, out) if d.own.get("embd_pdrop") else out, held


def projected(tape: Tape, c: Compute, x: Tensor, name: str, inputs: int, outputs: int) -> Tensor:
    """A matrix between the model's width and the narrower one of its token table."""
    if c.trains_base:
        return product(tape, c, x, name, inputs, outputs)
    return frozen(tape, c, x, inputs, outputs)


def _mask(tape: Tape, c: Compute, kept: bool) -> Storage | None:
    """Which positions see which: true or false, or with the distance of each pair for each head."""
    pairs = c.rows * c.length**2
    if c.form.masks == "true":
        return tape.new(pairs, 1).storage
    mask = tape.new(c.facts.heads * pairs, c.base).storage
    if kept:
        c.kept.append(mask)
    return mask


def window_masks(tape: Tape, c: Compute, item: int, checkpointing: bool) -> list[Storage | None]:
    """One for all layers with the same window. Where scores are written out each kind of layer has one, in
    numbers. Layers that are computed again need them again."""
    numbers = range(c.facts.layers)
    masks: list[Storage | None] = []
    if c.form.capped or c.kernel == "eager":
        kinds = {window_of(c.facts, number) for number in numbers}
        masks = [tape.new(c.rows * c.length**2, item).storage for _ in kinds]
    elif any(c.masked(number) for number in numbers):
        masks = [tape.new(c.length**2, 1).storage]
    if checkpointing:
        c.kept += masks
    return masks


def _looked_up(tape: Tape, c: Compute, out: Tensor, name: str, size: int) -> Tensor:
    """Rows of a table that trains: its gradient is one of the whole table."""
    table = Tensor(size, c.trained, None, c.leaf(tape, name))
    return tape.result(out, (table,), None, lambda g: (tape.new(size, g.item),))


def _leaf(out: Tensor) -> Node:
    """Where transformers checkpoints layers, it has frozen embeddings take a gradient, so that they and it
    stay until the graph is gone."""
    kept: list[Storage | None] = [out.storage]

    def accumulate(gradient: Tensor) -> tuple[()]:
        kept.append(gradient.storage)
        return ()

    return Node(-1, (), kept, accumulate)
