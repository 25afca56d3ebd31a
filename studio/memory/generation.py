"""The memory of answering: weights, the cache of keys and values, and what reading a prompt and making a
token add to them. No torch.

A prompt is read alone, its layers one after the other without a graph; rows then answer together, and a cache
grows by making each layer's keys and values anew. A layer with a sliding window keeps the positions that its
next token sees, as `studio.generate.cache` does.
"""

from __future__ import annotations

from studio.memory.cards import Capability, blas_workspace
from studio.memory.decoder import decoder_layer
from studio.memory.embedding import window_masks
from studio.memory.ladder import LadderTape
from studio.memory.layers import Compute
from studio.memory.need import PARTS, Need
from studio.memory.norms import normed
from studio.memory.tape import PARTS as TAPE_PARTS
from studio.memory.tape import Tape
from studio.methods import MethodMemory
from studio.models.config import ModelFacts
from studio.models.forms import form_of
from studio.models.quantisation import Quantisation, quantised_bytes
from studio.models.windows import window_of

# Bytes per number of what was learned: peft widens adapters to 32 bit, a side network is saved in that.
LEARNED = 4


def generation_need(
    facts: ModelFacts,
    quantisation: Quantisation | None,
    itemsize: int,
    rows: int,
    context: int,
    prompt: int,
    device: str = "cuda:0",
    learned: MethodMemory | None = None,
    capability: Capability | None = None,
) -> Need:
    """What answering takes on a device.

    Args:
        facts: The model's sizes; `parameters` must be known.
        quantisation: How the decoder layers' matrices are held; None: `itemsize` bytes a weight.
        itemsize: Bytes per number of everything else, the cache included.
        rows: Answers under way at a time.
        context: Tokens of each of them at the end, the prompt included.
        prompt: Tokens of the longest prompt.
        device: As torch names it.
        learned: Terms of a method whose adapters or side network stand beside the model.
        capability: Of the GPU, where it is known.
    """
    assert facts.parameters is not None
    lasting = {
        "weights": base_bytes(facts, quantisation, itemsize),
        "adapter": LEARNED * learned.trainable_params if learned else 0,
        "workspace": blas_workspace(device, 1, capability),
    }

    def cached(rows: int, positions: int) -> int:
        kept = cache_bytes(facts, itemsize, rows, positions)
        return kept + (side_cache_bytes(learned, rows, positions) if learned else 0)

    def passed(tokens: int) -> dict[str, int]:
        compute = Compute(
            facts,
            1,
            tokens,
            itemsize,
            LEARNED,
            quantised=quantisation is not None,
            cuda=device.startswith("cuda"),
        )
        return _pass_bytes(compute, learned)

    reading, answering = passed(prompt), passed(rows)
    reading["cache"] = cached(1, prompt) + cached(rows - 1, context)
    answering["cache"] = cached(rows, context)
    answering["workspace"] += _beside_cache(facts, itemsize, rows, context)
    moments = {"reading the prompt": reading, "answering": answering}
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    sizes = {name: lasting.get(name, 0) + moments[moment].get(name, 0) for name in PARTS}
    found = {name: size for name, size in sizes.items() if size}
    total = sum(found.values())
    return Need("estimate", found, moment, lambda: (total, total))


def base_bytes(facts: ModelFacts, quantisation: Quantisation | None, itemsize: int) -> int:
    """The weights of a base as it is held for answering, other towers included."""
    assert facts.parameters is not None
    beside = sum(facts.beside) * itemsize
    if quantisation:
        return quantised_bytes(facts, facts.parameters, quantisation, itemsize) + beside
    return facts.parameters * itemsize + beside


def cache_bytes(facts: ModelFacts, itemsize: int, rows: int, positions: int) -> int:
    """Keys and values of all layers."""
    return 2 * sum(cache_sizes(facts, itemsize, rows, positions))


def cache_sizes(facts: ModelFacts, itemsize: int, rows: int, positions: int) -> list[int]:
    """Of each layer's keys; its values take as much. A window's own next position is not in it yet."""
    each, sizes = rows * facts.kv_heads * facts.head_dim * itemsize, []
    for number in range(facts.layers):
        window = window_of(facts, number)
        sizes.append(each * (positions if window is None else min(positions, window - 1)))
    return sizes


def _beside_cache(facts: ModelFacts, itemsize: int, rows: int, positions: int) -> int:
    """What a token's attention adds to the caches, at the layer where that is most: the old keys beside the
    new ones (with a window also the old values), and where the kernel is told which positions it may see,
    both for each head. Rows of several lengths are always told."""
    form, most = form_of(facts), 0
    shared = facts.kv_heads != facts.heads
    for number, size in enumerate(cache_sizes(facts, itemsize, rows, positions)):
        window = window_of(facts, number)
        full = window is not None and window <= positions
        told = rows > 1 or full or form.capped or form.eager
        for_heads = 2 * size * facts.heads // facts.kv_heads if told and shared else 0
        most = max(most, (1 if window is None else 2) * size, for_heads)
    return most


def side_cache_bytes(learned: MethodMemory, rows: int, positions: int) -> int:
    """Keys and values of a side network's rungs, its pointers' keys and token ids; nothing without one."""
    if (side := learned.side) is None:
        return 0
    pointed = side.pointed + 1 if side.pointers else 0
    return (2 * len(side.taps) * side.width + pointed) * rows * positions * LEARNED


def _pass_bytes(c: Compute, learned: MethodMemory | None) -> dict[str, int]:
    """What one pass of these tokens through the model makes at its worst moment: a layer's activations with
    the 4-bit weight of the moment, or the last position's logits with their probabilities in 32 bit."""
    layer = layer_pass_bytes(c, learned)
    head = {"activations": c.tokens * c.facts.hidden * c.base, "logits": c.facts.vocab * (c.base + 8)}
    worst = layer if sum(layer.values()) >= sum(head.values()) else head
    return {"workspace": 0, **worst}


def layer_pass_bytes(c: Compute, learned: MethodMemory | None = None) -> dict[str, int]:
    """What a pass of these tokens without a graph makes at a decoder layer's worst moment."""
    kinds = {c.masked(number): number for number in range(c.facts.layers)}
    layers = (_layer_bytes(c, learned, number) for number in kinds.values())
    return max(layers, key=lambda parts: sum(parts.values()))


def _layer_bytes(c: Compute, learned: MethodMemory | None, number: int) -> dict[str, int]:
    tape, facts, item = Tape(), c.facts, c.base
    side = learned.side if learned else None
    with tape.without_graph(), tape.at("layer"):
        # Embeddings, positions, rotations and masks stay for all layers.
        around = tape.new(c.tokens * (facts.hidden + 2 * facts.head_dim), item), tape.new(2 * c.tokens, 8)
        masks = window_masks(tape, c, item, checkpointing=False)
        state = tape.new(c.tokens * facts.hidden, item)
        climbed = tape.new(c.tokens * side.width, LEARNED) if side else None
        state = decoder_layer(tape, c, state, str(number))
        if side and climbed:
            LadderTape(tape, c, side).rung(climbed, state, 0)
        state = normed(tape, c, state, "final", facts.hidden)
        if side and side.pointers:
            LadderTape(tape, c, side).pointed(tape.new(c.tokens * side.width, LEARNED))
    layer = {name: size for name, size in zip(TAPE_PARTS, tape.peaks["layer"], strict=True) if size}
    del state, around, climbed, masks
    return layer
