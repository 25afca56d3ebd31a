"""A model whose weights stay in its files: those of a decoder layer are read when it runs and are gone when
it has run, so that one layer (or the embeddings, or the head) is in memory at a time.

The model itself is an ordinary one: in place of each weight stands a single number under the weight's shape,
so whatever wraps layers (PEFT) finds what it expects. A tied head is read twice, once as the embeddings.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from studio.errors import StudioError
from studio.identity import weight_files
from studio.merge import shards
from studio.merge.layout import Layout
from studio.models.anatomy import Anatomy
from studio.models.families import FAMILIES
from studio.models.survey import found_family

_MMAP_THRESHOLD = -3  # its number in malloc.h
# From a parameter's name and a dtype to its numbers.
Read = Callable[[str, torch.dtype], Tensor]
# Told of each part of a model when its weights are there.
Filled = Callable[[nn.Module], None]


class StoredWeights:
    """The parameters of a model folder, read one at a time."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        """Raises StudioError `weights_unreadable`."""
        self._folder, self._layout = folder, layout
        self._places = {
            place.name: (file, place) for file in weight_files(folder) for place in shards.places(file)
        }
        self._origins = layout.origins(self._places)

    def __call__(self, name: str, dtype: torch.dtype) -> Tensor:
        """Raises StudioError `weights_unreadable` where the files lack it, and `merge_dtype`."""
        first = self._layout.first_name(name)
        if first not in self._origins:
            raise StudioError("weights_unreadable", path=str(self._folder), detail=f"no {first}")
        origin = self._origins[first]
        tensors = [shards.read_as(*self._places[stored], dtype) for _, stored in origin.tensors]
        return self._layout.made(first, origin, tensors)


@dataclass(frozen=True)
class Streamed:
    """A model without weights, and the names of its parameters."""

    model: nn.Module
    names: dict[nn.Parameter, str]


def empty_model(folder: Path, dtype: torch.dtype) -> Streamed:
    """The causal language model of `folder` as `studio.models.load.load_model` gives it, without weights."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with init_empty_weights():
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype, trust_remote_code=False
        )
    model.tie_weights()
    stand_ins: dict[nn.Parameter, nn.Parameter] = {}
    names = {}
    for path, module in model.named_modules():
        for key, empty in module._parameters.items():
            if empty is None:
                continue
            if empty not in stand_ins:
                stand_ins[empty] = nn.Parameter(_nothing(empty), requires_grad=False)
                names[stand_ins[empty]] = f"{path}.{key}"
            module._parameters[key] = stand_ins[empty]
    return Streamed(cast(nn.Module, model.eval()), names)


def stream(model: nn.Module, streamed: Streamed, read: Read, filled: Filled = lambda _: None) -> None:
    """Let `model`, the streamed one in whatever was put around it, read its weights as it runs."""
    covered: set[nn.Parameter] = set()
    # A model without numbers can't be seen at work: where its family is not known it is told by its modules.
    family = FAMILIES.get(cast(Any, streamed.model).config.model_type) or found_family(streamed.model)
    for part in _parts(model, Anatomy(streamed.model, family).layers):
        weights = {p: streamed.names[p] for p in part.parameters() if p in streamed.names}
        covered |= set(weights)
        part.register_forward_pre_hook(_filling(weights, read, filled))
        part.register_forward_hook(_dropping(weights))
    assert covered == set(streamed.names)


def _parts(module: nn.Module, layers: nn.ModuleList) -> Iterator[nn.Module]:
    """The decoder layers, and the largest modules that hold none of them."""
    if module is layers:
        yield from layers
    elif any(inside is layers for inside in module.modules()):
        for child in module.children():
            yield from _parts(child, layers)
    else:
        yield module


def _filling(weights: dict[nn.Parameter, str], read: Read, filled: Filled) -> Any:
    def fill(part: nn.Module, _: Any) -> None:
        for parameter, name in weights.items():
            parameter.data = read(name, parameter.dtype)
        filled(part)

    return fill


def _dropping(weights: dict[nn.Parameter, str]) -> Any:
    def drop(*_: Any) -> None:
        for parameter in weights:
            parameter.data = _nothing(parameter)

    return drop


def _nothing(like: Tensor) -> Tensor:
    """Of the shape and dtype of a weight, in the memory of one number."""
    return torch.zeros((), dtype=like.dtype).expand(like.shape)


def return_freed_memory() -> None:
    """Let freed tensors of 1 MB and more go back to the system at once, in this process from now on.

    glibc keeps freed blocks of up to 32 MB and fills the gaps badly when one layer's tensors come after
    another's: the process was seen to grow to half of the model. A fixed threshold ends that
    (mallopt(3), M_MMAP_THRESHOLD); other C libraries have no such call.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        cast(Any, libc).mallopt(_MMAP_THRESHOLD, 1 << 20)
