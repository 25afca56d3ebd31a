"""What merging an adapter into its base takes: main memory and disk. Arithmetic, no torch.

The files are rewritten tensor by tensor (`studio.merge.shards`); what was written is then compared with the
run over its base, each of them a decoder layer, the embeddings or the head at a time (`studio.merge.verify`).
What putting a mixture's experts together takes beside them is not counted.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

from studio.errors import StudioError
from studio.memory.cards import context_bytes
from studio.memory.generation import layer_pass_bytes
from studio.memory.layers import Compute
from studio.memory.need import Need
from studio.memory.workload import Workload
from studio.merge import POSITIONS, PROMPTS, TOKENS
from studio.models.config import ModelFacts
from studio.models.forms import linears
from studio.models.headers import weight_files
from studio.models.weights import numbers, weights_of
from studio.plan import Plan

_WIDE = 4  # merged weights are computed in 32 bit


def merging_need(plan: Plan, facts: ModelFacts, stored: int) -> Need:
    """Main memory and `disk` for writing a base with what a run learned merged into it, and comparing.

    Args:
        plan: The run's resolved plan.
        facts: The base's sizes; `parameters` must be known.
        stored: Bytes of the base's files, see `stored_bytes`.

    Raises:
        StudioError: `method_not_mergeable`.
    """
    work = Workload(plan, facts, learned=1.0)
    if not work.method.capable("mergeable", plan.method_params):
        raise StudioError("method_not_mergeable", method=work.method.title)
    assert facts.parameters is not None
    # Trained weights take the place of the base's, and are read one at a time.
    learned = 0 if work.trains_base else work.terms.trainable_params * work.terms.itemsize
    item = _WIDE if work.quantisation is None else work.frozen_itemsize
    moments = {
        "merging": {"adapter": learned, "workspace": _of_one_tensor(work)},
        # PEFT widens what was learned to 32 bit, unless both were in 16.
        "verifying": _verifying(work, item, learned * max(item, work.terms.itemsize) // work.terms.itemsize),
    }
    moment, parts = max(moments.items(), key=lambda entry: sum(entry[1].values()))
    tensors = sum(parts.values())
    low, high = context_bytes("cpu")
    found = {**{name: size for name, size in parts.items() if size}, "context": (low + high) // 2}
    return Need("estimate", found, moment, (tensors + low, tensors + high), disk=stored)


def _of_one_tensor(work: Workload) -> int:
    """Of the tensor that takes most while it is changed: as stored, widened, the change, and what it becomes.
    What trained whole takes the stored one's place, and is widened and rounded as far as it has to be; a
    table with trained rows becomes another one, without a change of its size."""
    facts, terms = work.facts, work.terms
    stored = facts.itemsize
    read = stored + _widened(stored)
    linear = max(inputs * outputs for _, inputs, outputs in linears(facts))
    if work.trains_base:
        return max(linear, *map(prod, terms.trainable)) * (read + terms.itemsize)
    whole = max(map(prod, terms.whole), default=0)
    table = numbers(weights_of(facts).embeddings) if terms.trains_tokens else 0
    rounded = 0 if stored == _WIDE else stored
    return max(
        linear * (read + 2 * _WIDE),
        whole * (stored + _widened(terms.itemsize) + rounded),
        table * (read + _WIDE),
    )


def _widened(itemsize: int) -> int:
    """Bytes that a number takes in 32 bit beside what it takes already."""
    return 0 if itemsize == _WIDE else _WIDE


def _verifying(work: Workload, item: int, learned: int) -> dict[str, int]:
    """What is in use while a layer or the head is read and while it runs, whichever is most. The embeddings
    have the head's size."""
    facts, whole = work.facts, weights_of(work.facts)
    states, logits = item * PROMPTS * TOKENS * facts.hidden, PROMPTS * POSITIONS * facts.vocab
    table = numbers(whole.head or whole.embeddings)
    layer, head = {"weights": item * numbers(whole.layer)}, {"weights": item * table, "activations": states}
    compute = Compute(facts, PROMPTS, TOKENS, item, _WIDE, ranks=work.terms.ranks)
    running: list[dict[str, int]] = [
        {**layer, **layer_pass_bytes(compute)},
        {**head, "logits": logits * (item + _widened(item))},
    ]
    reading: list[dict[str, int]] = [
        {**layer, "activations": states, "workspace": _of_one_read(work, item)},
        {**head, "workspace": table * work.terms.itemsize if work.trains_base else 0},
    ]
    # The run comes first. The merged weights have no adapter, but stand beside the logits of the first. A run
    # over 4 bit is then looked at once more, the other way.
    first, kept = Counter(adapter=learned), Counter(logits=_WIDE * logits)
    if work.quantisation:
        first += kept
    every: list[Counter[str]] = [first + Counter(parts) for parts in running + reading]
    every += [kept + Counter(parts) for parts in running]
    return max(every, key=lambda parts: sum(parts.values()))


def _of_one_read(work: Workload, item: int) -> int:
    """Of the largest matrix while a layer is read: what it trained to; or its 4 bits, what they become, and
    that in 32 bit."""
    largest = max(inputs * outputs for _, inputs, outputs in linears(work.facts))
    if work.trains_base:
        return largest * work.terms.itemsize
    if work.quantisation is None:
        return 0
    return int(largest * (work.quantisation.bits_per_weight / 8 + item + _WIDE))


def stored_bytes(folder: Path | None, facts: ModelFacts) -> int:
    """Of the files with a model's weights: as they are in its folder, else as its config says."""
    if folder is None:
        assert facts.parameters is not None
        return (facts.parameters + sum(facts.beside)) * facts.itemsize
    return sum((folder / name).stat().st_size for name in weight_files([f.name for f in folder.iterdir()]))
