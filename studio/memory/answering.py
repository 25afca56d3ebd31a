"""What the chat engine takes: its base in the format that it answers in, what was learned, the cache.

The engine holds one base. Adapters and an LST network stand beside it; what can't, has a second copy of the
base to itself (`Method.serving`). No torch.
"""

from __future__ import annotations

from dataclasses import replace

from studio.errors import Reason
from studio.generate.precision import Precision, itemsize
from studio.memory.allocator import Allocator
from studio.memory.cards import Capability, context_bytes
from studio.memory.generation import base_bytes, cache_sizes, generation_need
from studio.memory.need import Need
from studio.models.config import ModelFacts
from studio.plan import Plan, methods

# What a person's talk with a model seldom goes beyond.
_USUAL_CONTEXT = 4096
_PASSING = ("activations", "logits", "workspace")


def usual_context(facts: ModelFacts) -> int:
    """Tokens of a talk where nobody says."""
    return min(facts.context or _USUAL_CONTEXT, _USUAL_CONTEXT)


def answering_need(
    facts: ModelFacts,
    precision: Precision,
    rows: int,
    context: int,
    device: str,
    tuned: Plan | None = None,
    capability: Capability | None = None,
) -> Need:
    """What answering `rows` prompts of up to `context` tokens, answers included, takes on a device.

    `tuned` is the resolved plan of the run that answers, None for the base alone; `capability`: of the GPU,
    where it is known. The interval goes from the
    tensors to what comes and goes held twice, an allocator that finds none of it again: what a pass makes,
    and of the cache, whose layers grow one after the other, one layer. What a cache grew out of is given back
    as soon as the device has nothing else left.
    """
    item = itemsize(precision)
    sizes = cache_sizes(facts, item, rows, context)
    if tuned is None:
        return _whole(
            generation_need(facts, None, item, rows, context, context, device, None, capability),
            sizes,
            device,
            capability,
        )
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
        capability,
    )
    if not own_copy:
        return _whole(need, sizes, device, capability)
    reason = Reason("chat_own_copy", {"method": method.title, "copy_bytes": need.parts["weights"]})
    parts = need.parts | {"weights": need.parts["weights"] + base_bytes(facts, None, item)}
    return _whole(replace(need, parts=parts, reasons={"weights": reason}), sizes, device, capability)


def _whole(need: Need, sizes: list[int], device: str, capability: Capability | None) -> Need:
    """With what the process has beside its tensors; `sizes` are those of each layer's keys."""
    low, high = context_bytes(device, capability)
    twice = sum(need.parts.get(name, 0) for name in _PASSING) + 2 * max(sizes)
    if device.startswith("cuda"):
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
