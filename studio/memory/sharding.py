"""Memory per device where several train together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from studio.memory.lasting import layer_bytes
from studio.memory.workload import Workload

Sharding = Literal["ddp", "fsdp"]
Peaks = dict[str, dict[str, int]]  # bytes by part when most lived, by place in a step
_SHARDED = ("weights", "adapter", "gradients", "optimizer")


def per_device(
    peaks: Peaks, work: Workload, lasting: Mapping[str, int], devices: int, kind: Sharding
) -> Peaks:
    """The peaks of a step on each of `devices`; each has a batch of its own.

    `ddp`: all of it on each, and gradients once more in the buckets that are exchanged. `fsdp`: what lasts is
    split, and so is what the optimizer makes of it while it steps. In the passes before, whole at a time are
    the layer that computes, the next one, the tables outside of the layers, and the gradients of a layer
    before they are split (torch's fully_shard). Within a pass the moment is the worst one of a single device,
    where all gradients weigh: late in the backward pass of full tuning.
    """
    if devices == 1:
        return peaks
    gradients = work.terms.trainable_params * work.terms.itemsize
    if kind == "ddp":
        return {
            place: {**parts, "gradients": parts["gradients"] + gradients} for place, parts in peaks.items()
        }
    whole, kept = _gathered(work, lasting["weights"], gradients), lasting["workspace"]
    split = {}
    for place, parts in peaks.items():
        made = parts["workspace"] - kept
        stepping = place == "optimizer step"
        split[place] = {
            **{name: _share(size, devices) if name in _SHARDED else size for name, size in parts.items()},
            "workspace": kept + (_share(made, devices) if stepping else made + whole),
        }
    return split


def _gathered(work: Workload, weights: int, gradients: int) -> int:
    """Bytes that are whole on each device while it computes."""
    layer, layers = layer_bytes(work), work.facts.layers
    return 2 * layer + max(0, weights - layer * layers) + gradients // layers


def _share(size: int, devices: int) -> int:
    return -(-size // devices)
