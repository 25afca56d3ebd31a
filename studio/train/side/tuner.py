"""Ladder side-tuning as a method: only the side network trains, and only it is saved."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file, save_file
from torch import nn

from studio.errors import StudioError
from studio.models.anatomy import Anatomy, Hidden
from studio.train.side.hooks import Ladder
from studio.train.side.network import SideNetwork
from studio.train.side.pruned import prune_into
from studio.train.side.shape import SideShape, side_shape
from studio.train.tuner import Batch, Switch, Tuner, TunerContext, trained_dtype

WEIGHTS = "side.safetensors"
CONFIG = "side.json"
_NAME = "side"  # the network's name among the model's modules


class SideTuner(Tuner):
    """Params are those of `studio.methods.lst.LstParams`."""

    def prepare(self, model: nn.Module, context: TunerContext) -> nn.Module:
        """Raises StudioError `side_without_layers` if no layer is left to read, and those of `prune_into`."""
        anatomy = context.anatomy
        shape = side_shape(anatomy.config.hidden_size, len(anatomy.layers), self.params)
        if not shape.taps:
            raise StudioError("side_without_layers", skip_every=self.params.skip_every)
        network = SideNetwork(shape, _head_width(anatomy), self.params.output == "mix")
        network.initialise(context.generator)
        network.to(_device(anatomy))
        if self.params.init == "pruned":
            prune_into(network, context)
        network.to(trained_dtype(context.plan.settings))
        return _attached(model, anatomy, network)

    def save(self, model: nn.Module, folder: Path) -> None:
        network = ladder(model).network
        tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        body = {"shape": asdict(network.shape), "mixed": network.alpha is not None}
        (folder / CONFIG).write_text(json.dumps(body, indent=1), encoding="utf-8")

    def load(self, model: nn.Module, folder: Path, context: TunerContext | None = None) -> nn.Module:
        """Raises StudioError `adapter_unfit` for a base of another width or depth."""
        anatomy = Anatomy(model)
        network = read_network(anatomy, folder)
        network.requires_grad_(context is not None)
        return _attached(model, anatomy, network)

    def beside(self, model: nn.Module, folder: Path) -> Switch:
        anatomy = Anatomy(model)
        return Ladder(anatomy, read_network(anatomy, folder).eval().requires_grad_(False), enabled=False)

    def disabled(self, model: nn.Module) -> AbstractContextManager[None]:
        return ladder(model).off()

    def active(self, model: nn.Module) -> bool:
        return ladder(model).enabled

    def hidden(self, anatomy: Anatomy, batch: Batch) -> Hidden:
        with ladder(anatomy.model).backbone_without_gradient():
            return super().hidden(anatomy, batch)


def read_network(anatomy: Anatomy, folder: Path) -> SideNetwork:
    """The side network that was saved in `folder`, on the device of the base, in the dtype it was saved in.

    Raises StudioError `adapter_unfit` where it was trained on a base of another width or depth.
    """
    body: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    shape = SideShape(**{**body["shape"], "taps": tuple(body["shape"]["taps"])})
    hidden, layers = anatomy.config.hidden_size, len(anatomy.layers)
    if shape.hidden != hidden or max(shape.taps) >= layers:
        detail = f"{shape.hidden} wide, at least {max(shape.taps) + 1} layers; not {hidden} and {layers}"
        raise StudioError("adapter_unfit", path=str(folder), detail=detail)
    network = SideNetwork(shape, _head_width(anatomy), body["mixed"])
    tensors = load_file(folder / WEIGHTS)
    network.to(tensors["up.weight"].dtype)
    network.load_state_dict(tensors)
    return network.to(_device(anatomy))


def ladder(model: nn.Module) -> Ladder:
    """The ladder beside a model that `prepare` or `load` gave."""
    return cast(Ladder, cast(Any, model).side_ladder)


def _attached(model: nn.Module, anatomy: Anatomy, network: SideNetwork) -> nn.Module:
    """The model with the network among its modules, so that it is found, moved and counted with it."""
    model.add_module(_NAME, network)
    cast(Any, model).side_ladder = Ladder(anatomy, network)
    return model


def _head_width(anatomy: Anatomy) -> int:
    return int(cast(Any, anatomy.head).weight.shape[-1])


def _device(anatomy: Anatomy) -> Any:
    return next(anatomy.model.parameters()).device
