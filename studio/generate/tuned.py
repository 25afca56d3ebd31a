"""Decoders for what a batch of the shared base can't mix in: side networks, and models of their own.

A method declared `switched` is put beside the shared base and is on during its own decoder's forward passes
only; one declared `own_copy` gets a second base. A row of the base or of another run never meets either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from studio.errors import StudioError
from studio.generate.adapters import AdapterPool
from studio.generate.decode import Decoder
from studio.methods import Method
from studio.models.quantisation import Quantisation
from studio.registry import load_part
from studio.train.tuner import Tuner


@dataclass(frozen=True)
class _Held:
    decoder: Decoder
    remove: Callable[[], None]
    adapters: AdapterPool | None = None


class TunedDecoders:
    """Loads what a run learned when it is first needed, and drops the one unused longest when there are too
    many.

    Args:
        model: The shared base.
        adapters: What else is put onto it.
        copy: Loads the base once more, in 4 bit if it is told how.
        rows: How many answers each of them decodes at a time.
        limit: How many are held at once.
    """

    def __init__(
        self,
        model: Any,
        adapters: AdapterPool,
        copy: Callable[[Quantisation | None], nn.Module],
        rows: int = 8,
        limit: int = 2,
    ) -> None:
        self._model, self._adapters, self._copy = model, adapters, copy
        self._rows, self._limit = rows, limit
        self._held: dict[tuple[str, int], _Held] = {}  # least recently used first

    @property
    def decoders(self) -> list[Decoder]:
        return [held.decoder for held in self._held.values()]

    def require(self, folder: Path, method: Method, params: Any) -> Decoder:
        """The decoder for what `method` saved in `folder`, loaded now if it is new or has changed on disk.

        Raises:
            StudioError: `adapter_missing` (path); `chat_copies_busy` (limit) if all that are held are
                answering; what `copy` and the method raise.
        """
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise StudioError("adapter_missing", path=str(folder))
        key = (str(folder.resolve()), weights[0].stat().st_mtime_ns)
        return self._require(key, lambda: self._load(folder, method, params)).decoder

    def quantised(self, quantisation: Quantisation) -> tuple[Decoder, AdapterPool]:
        """The decoder of a base in 4 bit, and the adapters beside it. Raises as `require` does."""

        def load() -> _Held:
            model = self._copy(quantisation).eval()
            adapters = AdapterPool(model)
            return _Held(Decoder(model, adapters, self._rows), lambda: None, adapters)

        held = self._require((repr(quantisation), 0), load)
        assert held.adapters is not None  # the key is no folder's
        return held.decoder, held.adapters

    def _require(self, key: tuple[str, int], load: Callable[[], _Held]) -> _Held:
        held = self._held.pop(key, None)
        if held is None:
            self._make_room()
            held = load()
        self._held[key] = held
        return held

    def _load(self, folder: Path, method: Method, params: Any) -> _Held:
        tuner: Tuner = load_part(method.torch)(params)
        if method.served(params) == "switched":
            switch = tuner.beside(self._model, folder)
            return _Held(Decoder(self._model, self._adapters, self._rows, switch.on), switch.remove)
        model = self._copy(method.base_quantisation(params))
        tuner.load(model, folder)  # changes it in place, and may give back a wrapper
        return _Held(Decoder(model.eval(), max_rows=self._rows), lambda: None)

    def _make_room(self) -> None:
        if len(self._held) < self._limit:
            return
        idle = next((key for key, held in self._held.items() if not held.decoder.busy), None)
        if idle is None:
            raise StudioError("chat_copies_busy", limit=self._limit)
        self._held.pop(idle).remove()
