"""Full fine-tuning: the base's own weights train, and are saved whole.

The base on disk is never touched: what is saved are the trained tensors under the names that transformers
gives them, without those that stayed frozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from studio.errors import StudioError
from studio.methods.full import FullParams
from studio.train.tuner import Tuner, TunerContext

WEIGHTS = "trained.safetensors"


class FullTuner(Tuner):
    """Every weight of the text tower and its head, save those that the params freeze."""

    params: FullParams

    def prepare(self, model: nn.Module, context: TunerContext) -> nn.Module:
        """Raises StudioError `freezes_everything` if no decoder layer would train."""
        anatomy = context.anatomy
        if self.params.freeze_layers >= len(anatomy.layers):
            raise StudioError(
                "freezes_everything", layers=len(anatomy.layers), frozen=self.params.freeze_layers
            )
        for part in (anatomy.decoder, anatomy.head):
            part.requires_grad_(True)
        for layer in anatomy.layers[: self.params.freeze_layers]:
            layer.requires_grad_(False)
        if self.params.freeze_embeddings:
            anatomy.embeddings.requires_grad_(False)
        return _with_dtypes(model, context)

    def save(self, model: nn.Module, folder: Path) -> None:
        trained = {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in model.named_parameters()  # shared weights come once
            if parameter.requires_grad
        }
        save_file(trained, folder / WEIGHTS, metadata={"format": "pt"})

    def load(self, model: nn.Module, folder: Path, context: TunerContext | None = None) -> nn.Module:
        """Raises StudioError `adapter_unfit` where a tensor has no place in this base."""
        for _, place, trained in _saved(model, folder):
            place.data = trained.to(place.dtype) if context is None else trained
            place.requires_grad_(context is not None)
        return model if context is None else _with_dtypes(model, context)

    @torch.no_grad()
    def interpolate(
        self, model: nn.Module, folder: Path, weight: float, base: Mapping[str, Tensor]
    ) -> nn.Module:
        """Raises as `load` does. Each weight is written where the one before was: tensors that come and go
        would
        leave gaps, and the process would grow to several models."""
        for name, place, trained in _saved(model, folder):
            if weight != 1.0:
                before = base[name].float()
                trained = torch.sub(trained.float(), before).mul_(weight).add_(before)
            place.copy_(trained)
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: its weights are the change."""
        return model


def _saved(model: nn.Module, folder: Path) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """Every tensor of `folder` with its name and its place in the model, on the place's device."""
    places = dict(model.named_parameters())
    with safe_open(folder / WEIGHTS, framework="pt") as saved:
        for name in saved.keys():  # noqa: SIM118 - no mapping
            shape = list(saved.get_slice(name).get_shape())
            if name not in places or list(places[name].shape) != shape:
                raise StudioError("adapter_unfit", path=str(folder), detail=f"{name} {shape}")
            yield name, places[name], saved.get_tensor(name).to(places[name].device)


def _with_dtypes(model: nn.Module, context: TunerContext) -> nn.Module:
    """Trained weights in 32 bit unless everything is in 16; frozen ones in 16 bit where autocast computes in
    it."""
    precision = context.plan.settings.precision
    for parameter in model.parameters():
        if parameter.requires_grad and precision != "bf16":
            parameter.data = parameter.data.to(torch.float32)
        elif not parameter.requires_grad and precision == "mixed":
            parameter.data = parameter.data.to(torch.bfloat16)
    return model
