"""Memory per device where several train together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from studio.memory.lasting import beside_bytes, layer_bytes
from studio.memory.workload import Workload

Sharding = Literal["ddp", "fsdp"]
Peaks = dict[str, dict[str, int]]  # bytes by part when most lived, by place in a step
_SHARDED = ("weights", "adapter", "optimizer")


def per_device(
    peaks: Peaks, work: Workload, lasting: Mapping[str, int], devices: int, kind: Sharding
) -> Peaks:
    """The peaks of a step on each of `devices`; each has a batch of its own.

    `ddp`: all of it on each, and gradients once more in the buckets that are exchanged. `fsdp` (torch's
    fully_shard): what lasts is split, and so is what the optimizer makes of it while it steps; in the passes
    before, some is `gathered`. Gradients are split as they come (`Workload.shards`).
    """
    if devices == 1:
        return peaks
    if kind == "ddp":
        gradients = work.terms.trainable_params * work.terms.itemsize
        return {
            place: {**parts, "gradients": parts["gradients"] + gradients} for place, parts in peaks.items()
        }
    whole, kept = sum(gathered(work, lasting["weights"])), lasting["workspace"]
    split = {}
    for place, parts in peaks.items():
        made = parts["workspace"] - kept
        stepping = place == "optimizer step"
        split[place] = {
            **parts,
            **split_up(parts, devices),
            "workspace": kept + (_share(made, devices) if stepping else made + whole),
        }
    return split


def gathered(work: Workload, weights: int) -> tuple[int, ...]:
    """What is whole on each device while it computes, in bytes: the layer that computes, the next one, the
    tables outside of the layers, and the gradients of a layer before they are split. In 16 bit where numbers
    are mixed: the policy of torch's fully_shard takes the place of autocast."""
    layer, layers, held = layer_bytes(work), work.facts.layers, work.terms.itemsize
    outside = max(0, weights - layer * layers)
    if work.gathers_16_bit and work.base_itemsize == 4:
        towers = min(outside, beside_bytes(work))
        layer, outside = layer // 2, (outside - towers) // 2 + towers
    gradients = work.terms.trainable_params * (2 if work.gathers_16_bit else held)
    return layer, layer, outside, gradients // layers


def split_up(parts: Mapping[str, int], devices: int) -> dict[str, int]:
    """Those parts that are split, on each device."""
    return {name: _share(parts[name], devices) for name in _SHARDED if name in parts}


def _share(size: int, devices: int) -> int:
    return -(-size // devices)
