"""What merging an adapter into its base takes: main memory and disk. Arithmetic, no torch.

One file of the base is held at a time, whole, because a safetensors file is written whole; its matrices are
changed in slices of rows, so that what is computed beside it stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from math import prod
from pathlib import Path

from studio.errors import StudioError
from studio.memory.need import Need
from studio.memory.reserved import CONTEXT
from studio.models.config import ModelFacts
from studio.models.folder import weight_files
from studio.models.forms import linears
from studio.models.weights import weights_of
from studio.plan import Plan, methods

# The largest file that transformers' `save_pretrained` writes by default ("50GB", modeling_utils.py, 5.23).
MAX_SHARD_BYTES = 50 * 10**9
# Of 32-bit numbers that a slice of a matrix has while it is changed.
SLICE_BYTES = 64 * 2**20


def merging_need(plan: Plan, facts: ModelFacts, shards: Sequence[int]) -> Need:
    """Main memory and `disk` for writing a base with what a run learned merged into it.

    Args:
        plan: The run's resolved plan.
        facts: The base's sizes; `parameters` must be known.
        shards: Sizes of the base's files, of `stored_shards` or `usual_shards`.

    Raises:
        StudioError: `method_not_mergeable`.
    """
    method = methods.get(plan.method)
    if not method.capable("mergeable", plan.method_params):
        raise StudioError("method_not_mergeable", method=method.title)
    terms = method.memory(facts, plan.method_params, plan.settings)
    whole = method.capable("trains_base", plan.method_params)
    learned = terms.trainable_params * terms.itemsize
    matrix = max(inputs * outputs for _, inputs, outputs in linears(facts))
    parts = {
        "weights": max(shards),
        # Tensors that take the place of the base's are read one at a time.
        "adapter": 0 if whole else learned,
        # A slice in 32 bit, and its change.
        "workspace": min(2 * 4 * matrix, 2 * SLICE_BYTES),
    }
    tensors = sum(parts.values())
    low, high = CONTEXT["cpu"]
    found = {**{name: size for name, size in parts.items() if size}, "context": (low + high) // 2}
    return Need("estimate", found, "merging", (tensors + low, tensors + high), disk=sum(shards))


def stored_shards(folder: Path) -> tuple[int, ...]:
    """Sizes of the files with a model's weights in its folder."""
    return tuple((folder / name).stat().st_size for name in weight_files([f.name for f in folder.iterdir()]))


def usual_shards(facts: ModelFacts, most: int = MAX_SHARD_BYTES) -> tuple[int, ...]:
    """Sizes of the files that `save_pretrained` would write: tensors in their order, a new file where the
    next tensor would make one larger than `most` bytes."""
    shards = [0]
    for size in _tensor_bytes(facts):
        if shards[-1] and shards[-1] + size > most:
            shards.append(0)
        shards[-1] += size
    return tuple(shards)


def _tensor_bytes(facts: ModelFacts) -> Iterator[int]:
    assert facts.parameters is not None
    weights = weights_of(facts)
    layers = chain.from_iterable(repeat(weights.layer, weights.layers))
    shapes = chain(weights.embeddings, layers, weights.around, weights.head)
    sizes = [prod(shape) * facts.itemsize for shape in shapes]
    yield from sizes
    # What the shapes of a family do not say, and towers beside the text's.
    rest = (facts.parameters + sum(facts.beside)) * facts.itemsize - sum(sizes)
    if rest > 0:
        yield rest
