"""The memory of answering: weights, the cache of keys and values, and what reading a prompt and making a
token add to them. No torch.

A prompt is read alone, its layers one after the other without a graph; rows then answer together, and a cache
grows by making each layer's keys and values anew. A sliding window, which keeps less, is not known here.
"""

from __future__ import annotations

from studio.memory.decoder import decoder_layer
from studio.memory.layers import Compute
from studio.memory.need import PARTS, Need, blas_workspace
from studio.memory.norms import normed
from studio.memory.tape import PARTS as TAPE_PARTS
from studio.memory.tape import Tape
from studio.models.config import ModelFacts
from studio.models.quantisation import Quantisation, quantised_bytes


def generation_need(
    facts: ModelFacts,
    quantisation: Quantisation | None,
    itemsize: int,
    rows: int,
    context: int,
    prompt: int,
    device: str = "cuda:0",
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
    """
    assert facts.parameters is not None
    if quantisation:
        weights = quantised_bytes(facts, facts.parameters, quantisation, itemsize)
    else:
        weights = facts.parameters * itemsize
    lasting = {"weights": weights, "workspace": blas_workspace(device, handles=1)}
    quantised, cuda = quantisation is not None, device.startswith("cuda")
    reading = _pass_bytes(facts, itemsize, prompt, quantised, cuda)
    reading["cache"] = cache_bytes(facts, itemsize, 1, prompt) + cache_bytes(
        facts, itemsize, rows - 1, context
    )
    answering = _pass_bytes(facts, itemsize, rows, quantised, cuda)
    answering["cache"] = cache_bytes(facts, itemsize, rows, context)
    answering["workspace"] += answering["cache"] // (2 * facts.layers)  # a layer's keys, old beside new
    moments = {"reading the prompt": reading, "answering": answering}
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    sizes = {name: lasting.get(name, 0) + moments[moment].get(name, 0) for name in PARTS}
    found = {name: size for name, size in sizes.items() if size}
    total = sum(found.values())
    return Need("estimate", found, moment, lambda: (total, total))


def cache_bytes(facts: ModelFacts, itemsize: int, rows: int, positions: int) -> int:
    """Keys and values of all layers."""
    return 2 * facts.layers * rows * positions * facts.kv_heads * facts.head_dim * itemsize


def _pass_bytes(facts: ModelFacts, itemsize: int, tokens: int, quantised: bool, cuda: bool) -> dict[str, int]:
    """What one pass of this many tokens through the model makes at its worst moment: a layer's activations
    with the 4-bit weight of the moment, or the last position's logits with their probabilities in 32 bit."""
    tape = Tape()
    compute = Compute(facts, 1, tokens, itemsize, itemsize, quantised=quantised, cuda=cuda)
    with tape.without_graph(), tape.at("layer"):
        # Embeddings, positions and rotations stay for all layers.
        around = tape.new(tokens * (facts.hidden + 2 * facts.head_dim), itemsize), tape.new(2 * tokens, 8)
        state = tape.new(tokens * facts.hidden, itemsize)
        state = decoder_layer(tape, compute, state, "0")
        state = normed(tape, compute, state, "final", facts.hidden)
    layer = {name: size for name, size in zip(TAPE_PARTS, tape.peaks["layer"], strict=True) if size}
    del state, around
    head = {"activations": tokens * facts.hidden * itemsize, "logits": facts.vocab * (itemsize + 8)}
    worst = layer if sum(layer.values()) >= sum(head.values()) else head
    return {"workspace": 0, **worst}
