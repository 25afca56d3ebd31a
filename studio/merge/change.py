"""What a run changes of its base, parameter by parameter: the formulas of the methods' own `merge`, for
weights that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from studio.errors import StudioError
from studio.merge import shards
from studio.merge.adapter import Adapter
from studio.merge.layout import Layout
from studio.models.quantisation import Quantisation
from studio.train.full import WEIGHTS


class Change(Protocol):
    """Of one run. Names are those of the model's parameters, the first of those that share one."""

    @property
    def names(self) -> frozenset[str]:
        """What it changes."""

    def of(self, name: str, weight: Tensor) -> Tensor:
        """The parameter `name` after the run, in 32 bit, out of the one before, which is as stored."""

    def before(self, name: str, weight: Tensor) -> Tensor:
        """The parameter that the run saw, in 32 bit."""


@dataclass(frozen=True)
class NoChange:
    """Of a model that is taken as it is."""

    names: frozenset[str] = frozenset()

    def of(self, name: str, weight: Tensor) -> Tensor:
        return self.before(name, weight)

    def before(self, name: str, weight: Tensor) -> Tensor:
        del name
        return weight.float()


@dataclass(frozen=True)
class LoraChange:
    """An adapter's. `held` rounds a weight (outputs, inputs) as the run held it, where that is in 4 bit and
    the run's own base is wanted."""

    adapter: Adapter
    layout: Layout
    held: Callable[[Tensor], Tensor] | None = None

    @property
    def names(self) -> frozenset[str]:
        adapter = self.adapter
        named = {f"{path}.weight" for path in (*adapter.modules, *adapter.tokens)} | set(adapter.whole)
        rounded = self.layout.rounded if self.held else frozenset()
        return frozenset(self.layout.first_name(name) for name in named) | rounded

    def of(self, name: str, weight: Tensor) -> Tensor:
        for whole, tensor in self.adapter.whole.items():
            if self.layout.first_name(whole) == name:
                return tensor.float()
        turned = name in self.layout.turned
        rows = self.before(name, weight)
        rows = rows.T if turned else rows
        path = name.removesuffix(".weight")
        if path in self.adapter.tokens:
            ids, vectors = self.adapter.tokens[path]
            rows = rows.index_copy(0, torch.tensor(ids), vectors.float())
        if path in self.adapter.modules:
            rows = self._adapted(path, rows)
        return rows.T if turned else rows

    def before(self, name: str, weight: Tensor) -> Tensor:
        """The weight that the run saw, in 32 bit."""
        if self.held is None or name not in self.layout.rounded:
            return weight.float()
        return self.held(weight.T).T if name in self.layout.turned else self.held(weight)

    def _adapted(self, path: str, weight: Tensor) -> Tensor:
        """W + B A; with DoRA each row at the length that was trained (Liu et al. 2024, equation 5)."""
        whole = weight + self.adapter.factors(path).whole()
        length = self.adapter.magnitude(path)
        return whole if length is None else (length / whole.norm(dim=1))[:, None] * whole


class FullChange:
    """That of a run which trained the weights themselves."""

    def __init__(self, adapter: Path, layout: Layout) -> None:
        self._file = adapter / WEIGHTS
        self._places = {layout.first_name(place.name): place for place in shards.places(self._file)}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._places)

    def of(self, name: str, weight: Tensor) -> Tensor:
        trained = shards.read(self._file, self._places[name])
        if trained.shape != weight.shape:
            detail = f"{name} {list(trained.shape)}"
            raise StudioError("adapter_unfit", path=str(self._file.parent), detail=detail)
        return trained.float()

    def before(self, name: str, weight: Tensor) -> Tensor:
        """The stored weight, in 32 bit."""
        del name
        return weight.float()


def in_4_bit(quantisation: Quantisation, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """What a weight (outputs, inputs) of a base loaded in `dtype` is after 4 bit, in 32 bit."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    def held(weight: Tensor) -> Tensor:
        packed, state = quantize_4bit(
            weight.to(dtype).contiguous(),
            blocksize=64,
            compress_statistics=quantisation.double,
            quant_type=quantisation.kind,
        )
        whole: Tensor = dequantize_4bit(packed, state)
        return whole.float()

    return held
