"""Memory per device where several train together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from studio.models.config import ModelFacts
from studio.models.forms import linears

Sharding = Literal["ddp", "fsdp"]
_SHARDED = ("weights", "adapter", "gradients", "optimizer")


def per_device(
    parts: Mapping[str, int], facts: ModelFacts, gradients: int, devices: int, kind: Sharding
) -> dict[str, int]:
    """Bytes by part on each of `devices`; each has a batch of its own. `gradients`: bytes of those of all
    trained tensors.

    `ddp`: all of it on each, and gradients once more in the buckets that are exchanged. `fsdp`: what lasts is
    split; whole at a time are the layer that computes, the next one, the tables outside of the layers, and
    the gradients of a layer before they are split (torch's fully_shard).
    """
    if devices == 1:
        return dict(parts)
    if kind == "ddp":
        return {**parts, "gradients": parts.get("gradients", 0) + gradients}
    assert facts.parameters is not None
    weights, layers = parts.get("weights", 0), max(1, facts.layers)
    in_layer = sum(inputs * outputs for _, inputs, outputs in linears(facts)) / facts.parameters
    layer = int(weights * in_layer)
    tables = max(0, weights - layer * layers)
    whole = 2 * layer + tables + gradients // layers
    split = {name: -(-size // devices) if name in _SHARDED else size for name, size in parts.items()}
    return {**split, "workspace": split.get("workspace", 0) + whole}
