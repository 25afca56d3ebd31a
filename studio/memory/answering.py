"""What the chat engine takes: its base in the format that it answers in, what was learned, the cache.

The engine holds one base. Adapters and an LST network stand beside it; what can't, has a second copy of the
base to itself (`Method.serving`). No torch.
"""

from __future__ import annotations

from dataclasses import replace

from studio.errors import Reason
from studio.generate.precision import Precision, itemsize
from studio.memory.allocator import Allocator
from studio.memory.generation import base_bytes, cache_sizes, generation_need
from studio.memory.need import Need
from studio.memory.reserved import CONTEXT
from studio.models.config import ModelFacts
from studio.plan import Plan, methods

# What a person's talk with a model seldom goes beyond.
_USUAL_CONTEXT = 4096
_PASSING = ("activations", "logits", "workspace")


def usual_context(facts: ModelFacts) -> int:
    """Tokens of a talk where nobody says."""
    return min(facts.context or _USUAL_CONTEXT, _USUAL_CONTEXT)


def answering_need(
    facts: ModelFacts, precision: Precision, rows: int, context: int, device: str, tuned: Plan | None = None
) -> Need:
    """What answering `rows` prompts of up to `context` tokens, answers included, takes on a device.

    `tuned` is the resolved plan of the run that answers, None for the base alone. The interval goes from the
    tensors to what comes and goes held twice, an allocator that finds none of it again: what a pass makes,
    and of the cache, whose layers grow one after the other, one layer. What a cache grew out of is given back
    as soon as the device has nothing else left.
    """
    item = itemsize(precision)
    sizes = cache_sizes(facts, item, rows, context)
    if tuned is None:
        return _whole(generation_need(facts, None, item, rows, context, context, device), sizes, device)
    method, params = methods.get(tuned.method), tuned.method_params
    own_copy = method.served(params) == "own_copy"
    need = generation_need(
        facts,
        method.base_quantisation(params) if own_copy else None,
        item,
        rows,
        context,
        context,
        device,
        None if method.capable("trains_base", params) else method.memory(facts, params, tuned.settings),
    )
    if not own_copy:
        return _whole(need, sizes, device)
    reason = Reason("chat_own_copy", {"method": method.title, "copy_bytes": need.parts["weights"]})
    parts = need.parts | {"weights": need.parts["weights"] + base_bytes(facts, None, item)}
    return _whole(replace(need, parts=parts, reasons={"weights": reason}), sizes, device)


def _whole(need: Need, sizes: list[int], device: str) -> Need:
    """With what the process has beside its tensors; `sizes` are those of each layer's keys."""
    kind = device.partition(":")[0]
    low, high = CONTEXT[kind]
    twice = sum(need.parts.get(name, 0) for name in _PASSING) + 2 * max(sizes)
    if kind == "cuda":
        twice += _rounded_up(sizes)
    taken = need.allocated + low, need.allocated + twice + high
    return replace(need, parts=need.parts | {"context": (low + high) // 2}, interval=taken)


def _rounded_up(sizes: list[int]) -> int:
    """What a GPU's allocator takes for keys and values beyond their bytes."""
    allocator = Allocator()
    for size in sizes:
        allocator.take(size)
        allocator.take(size)
    return allocator.reserved - 2 * sum(sizes)
