"""Adapters of one base model, held beside it and chosen per row of a batch.

The base's weights are held once and never changed. PEFT wraps the layers that an adapter touches; every
wrapped layer is told, row by row, which adapter answers, and a row of `BASE` gets exactly what the bare layer
computes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import linear

from studio.errors import StudioError
from studio.generate.request import BASE
from studio.merge.expand_adapter import COMPACT, CONFIG, WEIGHTS, expanded

if TYPE_CHECKING:
    from studio.merge.adapter import PeftForm


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
        self._names: dict[
            tuple[str, int], str
        ] = {}  # (folder, version) or what names one made here -> name, least recently used first
        self._told: dict[Any, _Layer] = {}
        self._rows: list[str] = []
        self._runs: list[tuple[str, slice]] = []  # neighbouring rows of one adapter; none of the base's
        self._count = 0

    def require(self, folder: Path, in_use: Collection[str] = ()) -> str:
        """Name of the adapter in this folder (PEFT's format), loaded now if it is new or has changed on disk.

        Args:
            folder: Holds adapter_config.json and adapter_model.safetensors, or a compact adapter.
            in_use: Names that must not be dropped to make room.

        Raises:
            StudioError: `adapter_missing` (path), `adapter_unfit` (path, detail) if it is not one for this
                base.
        """
        weights = next((file for name in (COMPACT, WEIGHTS) if (file := folder / name).is_file()), None)
        if weights is None or not (folder / CONFIG).is_file():
            raise StudioError("adapter_missing", path=str(folder))
        key = (str(folder.resolve()), weights.stat().st_mtime_ns)
        return self._require(key, lambda name: self._load(folder, name), in_use)

    def require_made(self, key: str, make: Callable[[], PeftForm], in_use: Collection[str] = ()) -> str:
        """Name of the adapter that `make` gives, called where `key` (its identity) is new.

        Raises:
            StudioError: `adapter_unfit` (path: the key, detail); what `make` raises.
        """
        return self._require((key, 0), lambda name: self._add(key, make(), name), in_use)

    def _require(self, key: tuple[str, int], load: Callable[[str], None], in_use: Collection[str]) -> str:
        name = self._names.pop(key, None)
        if name is None:
            self._make_room(in_use)
            name = f"adapter{self._count}"
            self._count += 1
            load(name)
        self._names[key] = name
        return name

    def select(self, rows: Sequence[str]) -> None:
        """Say which adapter answers each row of the next forward pass."""
        if self._rows == list(rows):
            return
        self._rows[:] = rows
        self._runs[:] = _runs(rows)

    def _load(self, folder: Path, name: str) -> None:
        from peft import PeftConfig, PeftModel

        with self._fitting(str(folder), name), expanded(folder) as plain:
            config = PeftConfig.from_pretrained(str(plain))
            config.inference_mode = True
            if self._wrapped is None:
                self._wrapped = PeftModel(self._model, config, adapter_name=name)
            self._wrapped.load_adapter(str(plain), adapter_name=name)

    def _add(self, key: str, made: PeftForm, name: str) -> None:
        from peft import LoraConfig, PeftModel, set_peft_model_state_dict

        with self._fitting(key, name):
            config = LoraConfig(**{kind: value for kind, value in made.config.items() if kind != "peft_type"})
            if self._wrapped is None:
                self._wrapped = PeftModel(self._model, config, adapter_name=name)
            else:
                self._wrapped.add_adapter(name, config)
            set_peft_model_state_dict(self._wrapped, dict(made.tensors), adapter_name=name)

    @contextmanager
    def _fitting(self, path: str, name: str) -> Iterator[None]:
        """Around PEFT's work on the layers: what does not fit is refused, and the base goes on answering."""
        try:
            yield
        except (ValueError, KeyError, RuntimeError) as error:
            # PEFT's answers to files or layers that are not there and to shapes that do not match.
            if self._wrapped is not None and name in self._wrapped.peft_config:
                self._wrapped.delete_adapter(name)
            raise StudioError("adapter_unfit", path=path, detail=str(error).split("\n")[0]) from error
        finally:
            # After a failure too: a layer that is wrapped already must go on answering as the base.
            self._tell_layers()
        self._wrapped.eval().requires_grad_(False)

    def _make_room(self, in_use: Collection[str]) -> None:
        idle = [(key, name) for key, name in self._names.items() if name not in in_use]
        for key, name in idle[: max(0, len(self._names) - self._limit + 1)]:
            self._wrapped.delete_adapter(name)
            del self._names[key]
            self._tell_layers()

    def _tell_layers(self) -> None:
        # PEFT's own way puts hooks on and takes them off at every forward pass, which costs more than a small
        # layer.
        from peft.tuners.lora.layer import LoraLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        for module in self._model.modules():
            if isinstance(module, (LoraLayer, AuxiliaryTrainingWrapper)) and module not in self._told:
                self._told[module] = _Layer(module, self._rows, self._runs)
        for layer in self._told.values():
            layer.learn()


class _Layer:
    """Stands in for the forward pass of a layer that PEFT has wrapped.

    PEFT's own takes the rows of a mixed batch apart and puts them together by index, which on a processor
    costs more than a small layer. Where an adapter is LoRA and nothing more, what it adds is added here to
    its rows in place; all else (DoRA, embeddings, modules of their own, another number format) is PEFT's.
    """

    def __init__(self, module: Any, rows: list[str], runs: list[tuple[str, slice]]) -> None:
        self._module = module
        self._by_peft = module.forward
        self._rows = rows
        self._runs = runs
        self._plain: dict[str, tuple[Tensor, Tensor, Tensor | None, float]] = {}
        self._others: frozenset[str] = frozenset()
        module.forward = self.forward

    def learn(self) -> None:
        """Look again at which adapters the layer has."""
        from peft.tuners.lora.layer import Linear

        module: Any = self._module
        self._plain = {}
        if type(module) is not Linear:
            return
        self._base = module.base_layer
        for name in module.lora_A:
            if name not in module.lora_variant:
                down: Any = module.lora_A[name]
                up: Any = module.lora_B[name]
                self._plain[name] = (down.weight, up.weight, up.bias, module.scaling[name])
        self._others = frozenset(module.lora_A) - frozenset(self._plain)
        self._dtypes = {down.dtype for down, *_ in self._plain.values()}

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the module's own, for the rows that were selected."""
        plain = self._plain
        if not plain or self._dtypes != {x.dtype} or not self._others.isdisjoint(self._rows):
            return self._by_peft(x, *args, adapter_names=self._rows, **kwargs)
        result = self._base(x, *args, **kwargs)
        for name, rows in self._runs:
            if name in plain:
                down, up, bias, scale = plain[name]
                result[rows].add_(linear(linear(x[rows], down), up, bias), alpha=scale)
        return result


def _runs(rows: Sequence[str]) -> list[tuple[str, slice]]:
    """Neighbouring rows of one adapter; those of the base left out."""
    found: list[tuple[str, slice]] = []
    start = 0
    for name, group in groupby(rows):
        end = start + len(list(group))
        if name != BASE:
            found.append((name, slice(start, end)))
        start = end
    return found
