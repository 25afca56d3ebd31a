"""DoRA's lengths in 32 bit, whatever the run computes in (Liu et al. 2024, arXiv 2402.09353).

A layer is scaled by magnitude / norm of its weight rows, a number near 1. In 16 bit neighbours of 1 are 0.004
and 0.008 apart: a usual step of the optimizer would be lost, and the norm would depend on the dtype in which
a layer happens to get its input, another one in training under autocast than in an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.dora import DoraLinearLayer
from peft.utils.other import transpose
from torch import Tensor, nn

from studio.train.lora_start import whole_weight


class Magnitude(DoraLinearLayer):
    """peft's layer, with the norm and the trained magnitude (outputs,) in 32 bit."""

    def get_weight_norm(
        self,
        weight: Tensor,
        lora_weight: Tensor,
        scaling: float,
        adapter_name: str | None = None,  # noqa: ARG002 - peft's key of a cache that is off
    ) -> Tensor:
        """Lengths (outputs,) of the rows of the weight with its adapter."""
        rows: Tensor = transpose(weight, self.fan_in_fan_out).float()
        norms: Tensor = (rows + scaling * lora_weight.float()).norm(dim=1)
        return norms


def in_32_bit(model: nn.Module, adapter: str) -> None:
    """Replace peft's magnitudes of `adapter` by ours of the same values."""
    for layer in _layers(model, adapter):
        theirs = layer.lora_magnitude_vector[adapter]
        layer.lora_magnitude_vector[adapter] = ours = Magnitude(theirs.fan_in_fan_out)  # type: ignore[no-untyped-call]
        ours.weight = nn.Parameter(theirs.weight.detach().float())


@torch.no_grad()
def begin(model: nn.Module, adapter: str) -> None:
    """Let the magnitudes be the norms that the layers have now, so that every scale is 1."""
    for layer in _layers(model, adapter):
        a, b = layer.lora_A[adapter].weight.float(), layer.lora_B[adapter].weight.float()
        whole = whole_weight(layer.get_base_layer()) + layer.scaling[adapter] * (b @ a)
        layer.lora_magnitude_vector[adapter].weight.copy_(whole.norm(dim=1))


def _layers(model: nn.Module, adapter: str) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, LoraLayer) and adapter in module.lora_magnitude_vector:
            yield module
