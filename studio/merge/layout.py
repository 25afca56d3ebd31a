"""How the tensors of a model's files are called inside the model, what they become there, and which of them a
base in 4 bit rounds.

All are transformers' own rules, asked of the model built without weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module


@dataclass(frozen=True)
class Origin:
    """What a parameter is made of: (the converter's pattern, name in a file) of each tensor, and what makes
    one of them where they are more than one."""

    tensors: list[tuple[Any, str]]
    converter: Any


class Layout:
    """The model of a folder, without its weights."""

    def __init__(self, folder: Path) -> None:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            self._model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, trust_remote_code=False
            )

    def origins(self, stored: Iterable[str]) -> dict[str, Origin]:
        """By parameter, the first of those that share it: the tensors of the files that it is made of."""
        transforms = get_model_conversion_mapping(self._model)
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        there = self._model.state_dict()
        found: dict[str, Origin] = {}
        for name in sorted(stored, key=dot_natural_key):
            inside, pattern = rename_source_key(
                name, renamings, converters, self._model.base_model_prefix, there
            )
            origin = found.setdefault(self.first_name(inside), Origin([], _owner(converters, pattern)))
            origin.tensors.append((pattern, name))
        return found

    def parameters(self, stored: Iterable[str]) -> dict[str, str]:
        """By the name in a file: the parameter that it is, the first of those that share it. Names that
        become a part of a parameter only are left out."""
        return {
            name: parameter
            for parameter, origin in self.origins(stored).items()
            if origin.converter is None
            for _, name in origin.tensors
        }

    def made(self, parameter: str, origin: Origin, tensors: Sequence[Tensor]) -> Tensor:
        """A parameter out of its tensors, given in the order of `origin`."""
        if origin.converter is None:
            return tensors[-1]  # stored under both of two tied names, the last one counts
        converter = deepcopy(origin.converter)
        for (pattern, name), tensor in zip(origin.tensors, tensors, strict=True):
            converter.add_tensor(parameter, name, pattern, tensor)
        made = converter.convert(parameter, model=self._model, config=self._model.config)[parameter]
        return cast(Tensor, made[0] if isinstance(made, list) else made)

    def first_name(self, parameter: str) -> str:
        """The name of the parameter that `parameter` is tied to, or its own."""
        return str(self._model.all_tied_weights_keys.get(parameter, parameter))

    @cached_property
    def rounded(self) -> frozenset[str]:
        """Weights that `studio.models.load` holds in 4 bit where it is asked to."""
        kept = get_keys_to_not_convert(self._model)
        return frozenset(
            f"{path}.weight"
            for path, module in self._model.named_modules()
            if isinstance(module, Conv1D | nn.Linear)
            and (should_convert_module(path, kept) or type(module) not in (Conv1D, nn.Linear))
        )

    @cached_property
    def turned(self) -> frozenset[str]:
        """Weights that are held as (inputs, outputs)."""
        modules = self._model.named_modules()
        return frozenset(f"{path}.weight" for path, module in modules if isinstance(module, Conv1D))


def _owner(converters: Sequence[WeightConverter], pattern: str | None) -> WeightConverter | None:
    return next((owner for owner in converters if pattern in owner.source_patterns), None)
