"""What a run learned that is no adapter for PEFT's layers: side networks, and models of their own.

What can stand beside a base is put beside one that many share: the chat's own, or, where it was trained over
4 bit, one copy in 4 bit. A side network is then a row's choice, as an adapter is; what can only be switched
on as a whole has a decoder of its own. What can't be beside one (`own_copy`) gets a base of its own, as far
as memory goes; so do weights between the base and a run that trained them. A row of the base or of another
run never meets any of them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from studio.errors import StudioError
from studio.generate.adapters import AdapterPool
from studio.generate.decode import Decoder
from studio.generate.request import BASE
from studio.generate.sides import SidePool
from studio.methods import Method
from studio.models.quantisation import Quantisation
from studio.registry import load_part
from studio.train.tuner import RowSwitch, Switch, Tuner

_Version = tuple[str, int]  # folder, version
_Key = _Version | tuple[_Version, float]  # with a weight: between the base and what is there


class Shared:
    """A base that rows of many runs use together.

    Args:
        model: In eval mode.
        rows: How many answers decode at a time.
    """

    def __init__(self, model: Any, rows: int = 8) -> None:
        self.model = model
        self.weights = dict(model.named_parameters())  # by the names that they have unwrapped
        self.adapters = AdapterPool(model)
        self.sides = SidePool(next(model.parameters()).device)
        self.decoder = Decoder(model, self.adapters, rows, sides=self.sides)


@dataclass(frozen=True)
class _Held:
    decoder: Decoder
    remove: Callable[[], None] = lambda: None
    shared: Shared | None = None
    between: nn.Module | None = None  # the model, where its weights are those between a base and a run


class TunedDecoders:
    """Loads what a run learned when it is first needed, and drops the copy unused longest when there are too
    many, or no memory for one more.

    Args:
        shared: The base that is there already.
        copy: Loads the base once more, in 4 bit if it is told how; raises `chat_copy_memory` without room.
        rows: How many answers each of them decodes at a time.
        limit: How many copies, and switches with decoders of their own, are held at once.
    """

    def __init__(
        self,
        shared: Shared,
        copy: Callable[[Quantisation | None], nn.Module],
        rows: int = 8,
        limit: int = 4,
    ) -> None:
        self._shared, self._copy = shared, copy
        self._rows, self._limit = rows, limit
        self._held: dict[_Key, _Held] = {}  # least recently used first

    @property
    def decoders(self) -> list[Decoder]:
        """Those that are not the shared base's."""
        return [held.decoder for held in self._held.values()]

    def require(self, folder: Path, method: Method, params: Any) -> tuple[Decoder, str]:
        """The decoder for what `method` saved in `folder`, and the adapter that its rows name; loaded now if
        it is new or has changed on disk.

        Raises:
            StudioError: `adapter_missing` (path); `chat_copies_busy` (limit) if all that are held are
                answering; what `copy` and the method raise.
        """
        key = _version(folder)
        tuner: Tuner = load_part(method.torch)(params)
        quantisation = method.base_quantisation(params)
        if method.served(params) == "own_copy" and type(tuner).beside is Tuner.beside:
            return self._require(key, lambda: self._own_copy(folder, tuner, quantisation)).decoder, BASE
        shared = self._shared if quantisation is None else self.quantised(quantisation)
        return self._beside(key, shared, lambda: tuner.beside(shared.model, folder))

    def between(self, folder: Path, method: Method, params: Any, weight: float) -> Decoder:
        """The decoder of the weights between the base's (0) and those that `method`, one that trains them,
        saved in `folder` (1). They take one copy of the base: another weight goes into the same one, unless
        it is answering just then.

        Raises as `require` does.
        """
        version = _version(folder)
        key = (version, weight)
        tuner: Tuner = load_part(method.torch)(params)
        copy = None if key in self._held else self._free_copy(version)

        def load() -> _Held:
            model = self._copy(None) if copy is None else copy
            tuner.interpolate(model, folder, weight, self._shared.weights)
            return _Held(Decoder(model.eval(), max_rows=self._rows), between=model)

        return self._require(key, load).decoder

    def _free_copy(self, version: _Version) -> nn.Module | None:
        """One that held other weights between the base and the same run, and answers nobody."""
        for key, held in self._held.items():
            if held.between is not None and key[0] == version and not held.decoder.busy:
                del self._held[key]
                return held.between
        return None

    def quantised(self, quantisation: Quantisation) -> Shared:
        """The base in 4 bit that all share who want it so. Raises as `require` does."""

        def load() -> _Held:
            shared = Shared(self._copy(quantisation).eval(), self._rows)
            return _Held(shared.decoder, shared=shared)

        held = self._require((repr(quantisation), 0), load)
        assert held.shared is not None  # the key is no folder's
        return held.shared

    def _beside(self, key: _Version, shared: Shared, load: Callable[[], Switch]) -> tuple[Decoder, str]:
        if (name := shared.sides.find(key)) is not None:
            return shared.decoder, name
        if key in self._held:
            return self._held[key].decoder, BASE
        switch = load()
        if isinstance(switch, RowSwitch):
            return shared.decoder, shared.sides.add(key, switch, shared.decoder.adapters_in_use())
        decoder = Decoder(shared.model, shared.adapters, self._rows, switch.on)
        return self._require(key, lambda: _Held(decoder, switch.remove)).decoder, BASE

    def _own_copy(self, folder: Path, tuner: Tuner, quantisation: Quantisation | None) -> _Held:
        model = self._copy(quantisation)
        tuner.load(model, folder)  # changes it in place, and may give back a wrapper
        return _Held(Decoder(model.eval(), max_rows=self._rows))

    def _require(self, key: _Key, load: Callable[[], _Held]) -> _Held:
        held = self._held.pop(key, None)
        if held is None:
            if len(self._held) >= self._limit and not self._drop_idle():
                raise StudioError("chat_copies_busy", limit=self._limit)
            held = self._loaded(load)
        self._held[key] = held
        return held

    def _loaded(self, load: Callable[[], _Held]) -> _Held:
        while True:
            try:
                return load()
            except StudioError as error:
                if error.code != "chat_copy_memory" or not self._drop_idle():
                    raise

    def _drop_idle(self) -> bool:
        """Let go of the one unused longest that answers nobody; False if all do."""
        idle = next((key for key, held in self._held.items() if not held.decoder.busy), None)
        if idle is None:
            return False
        self._held.pop(idle).remove()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True


def _version(folder: Path) -> _Version:
    """Raises StudioError `adapter_missing` (path) where nothing was saved."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise StudioError("adapter_missing", path=str(folder))
    return str(folder.resolve()), weights[0].stat().st_mtime_ns
