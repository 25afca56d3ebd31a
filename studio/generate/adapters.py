"""Adapters of one base model, held beside it and chosen per row of a batch.

The base's weights are held once and never changed. PEFT wraps the layers that an adapter touches; every
wrapped layer is told, row by row, which adapter answers, and a row of `BASE` gets exactly what the bare layer
computes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from studio.errors import StudioError

_WEIGHTS = "adapter_model.safetensors"


class AdapterPool:
    """Loads adapters when they are first needed and drops the one unused longest when there are too many.

    Args:
        model: The base, in eval mode; its layers are wrapped in place by the first adapter.
        limit: How many adapters are held at once.
    """

    def __init__(self, model: Any, limit: int = 8) -> None:
        self._model = model
        self._limit = limit
        self._wrapped: Any = None  # peft.PeftModel, once there is an adapter
        self._names: dict[tuple[str, int], str] = {}  # (folder, version) -> name, least recently used first
        self._hooked: set[Any] = set()
        self._rows: list[str] = []
        self._count = 0

    def require(self, folder: Path, in_use: Collection[str] = ()) -> str:
        """Name of the adapter in this folder (PEFT's format), loaded now if it is new or has changed on disk.

        Args:
            folder: Holds adapter_config.json and adapter_model.safetensors.
            in_use: Names that must not be dropped to make room.

        Raises:
            StudioError: `adapter_missing` (path), `adapter_unfit` (path, detail) if it is not one for this
                base.
        """
        weights = folder / _WEIGHTS
        if not weights.is_file() or not (folder / "adapter_config.json").is_file():
            raise StudioError("adapter_missing", path=str(folder))
        key = (str(folder.resolve()), weights.stat().st_mtime_ns)
        name = self._names.pop(key, None)
        if name is None:
            self._make_room(in_use)
            name = f"adapter{self._count}"
            self._count += 1
            self._load(folder, name)
        self._names[key] = name
        return name

    def select(self, rows: Sequence[str]) -> None:
        """Say which adapter answers each row of the next forward pass."""
        self._rows = list(rows)

    def _load(self, folder: Path, name: str) -> None:
        from peft import PeftConfig, PeftModel

        try:
            config = PeftConfig.from_pretrained(str(folder))
            config.inference_mode = True
            if self._wrapped is None:
                self._wrapped = PeftModel(self._model, config, adapter_name=name)
            self._wrapped.load_adapter(str(folder), adapter_name=name)
        except (ValueError, KeyError, RuntimeError) as error:
            # PEFT's answers to files or layers that are not there and to shapes that do not match.
            if self._wrapped is not None and name in self._wrapped.peft_config:
                self._wrapped.delete_adapter(name)
            raise StudioError("adapter_unfit", path=str(folder), detail=str(error).split("\n")[0]) from error
        finally:
            # After a failure too: a layer that is wrapped already must go on answering as the base.
            self._hook_layers()
        self._wrapped.eval().requires_grad_(False)

    def _make_room(self, in_use: Collection[str]) -> None:
        idle = [(key, name) for key, name in self._names.items() if name not in in_use]
        for key, name in idle[: max(0, len(self._names) - self._limit + 1)]:
            self._wrapped.delete_adapter(name)
            del self._names[key]

    def _hook_layers(self) -> None:
        # PEFT's own way puts hooks on and takes them off at every forward pass, which costs more than a small
        # layer.
        from peft.tuners.lora.layer import LoraLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        for module in self._model.modules():
            wraps = isinstance(module, (LoraLayer, AuxiliaryTrainingWrapper))
            if wraps and module not in self._hooked:
                module.register_forward_pre_hook(self._tell_rows, with_kwargs=True)
                self._hooked.add(module)

    def _tell_rows(
        self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": self._rows}
