"""The one thread that touches the model: loads it, then answers tickets token by token."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api.chat import Proof
from backend.chat import runs
from backend.chat.announcement import log_file
from backend.chat.answers import Answers, Voice
from backend.chat.protocol import Order
from backend.inputs import template_hash
from studio.data.render import Renderer
from studio.errors import StudioError
from studio.identity import adapter_identity
from studio.names import ModelName, parse

if TYPE_CHECKING:
    from backend.chat.base import Loaded

log = logging.getLogger("studio.chat")


class Answering(Answers, threading.Thread):
    """Answers the tickets of `inbox` with one base and what its runs learned.

    Args:
        base: Canonical name of the base.
        folder: The home's folder of runs.
        load: Brings the base into memory; called in this thread.
    """

    def __init__(self, base: str, folder: Path, load: Callable[[], Loaded]) -> None:
        Answers.__init__(self, StudioError("chat_engine_ending"))
        threading.Thread.__init__(self, name="answering", daemon=True)
        self._base = base
        self._runs = folder
        self._load = load
        self._renderers: dict[tuple[Path, int], Renderer] = {}
        self.ready = threading.Event()
        self.failure: StudioError | None = None
        self.idle_since = time.monotonic()

    @property
    def working(self) -> bool:
        """Whether any ticket waits or is being answered, or the base is being loaded."""
        return self.waiting or not self.ready.is_set()

    def end(self) -> None:
        """End the thread between two tokens; open tickets fail with `chat_engine_ending`."""
        self._inbox.put(None)

    def run(self) -> None:
        """Thread main."""
        try:
            self._loaded = self._load()
            self.ready.set()
            self._serve(self._loaded)
        except StudioError as error:
            log.error("can't answer: %s", error)
            self._ending = self.failure = error
        except Exception as error:
            log.exception("the model's thread ended")
            log_path = str(log_file(self._runs.parent, self._base))
            self._ending = self.failure = StudioError(
                "chat_engine_failed", base=self._base, log=log_path, detail=repr(error)
            )
        finally:
            self.ready.set()
            self.finish()

    def _serve(self, loaded: Loaded) -> None:
        while self.take_in(wait=True):
            for decoder in loaded.decoders:
                for token in decoder.step():
                    self.hand_out(decoder, token)
            self.idle_since = time.monotonic()

    def _voice(self, order: Order) -> Voice:
        loaded = self._loaded
        renderer = loaded.renderer
        if order.template_of is not None:
            renderer = self._renderer(self._own_run(order.template_of).value)
        if order.model in ("base", self._base):
            return Voice(loaded.decoder, renderer, self._proof(renderer))
        name = self._own_run(order.model)
        folder = runs.adapter_folder(self._runs, name)
        if runs.trained_on(folder) != loaded.hash:
            # Its base was replaced since: over other weights the adapter would answer nonsense.
            raise StudioError("run_base_changed", run=name.value, base=self._base)
        renderer = self._renderer(name.value)
        proof = self._proof(renderer, folder)
        method, params = runs.method_of(self._runs, name.value)
        if method.served(params) != "batched":
            return Voice(loaded.tuned.require(folder, method, params), renderer, proof)
        adapter = loaded.adapters.require(folder, loaded.decoder.adapters_in_use())
        return Voice(loaded.decoder, renderer, proof, adapter)

    def _proof(self, renderer: Renderer, adapter: Path | None = None) -> Proof:
        hashes = self._runs.parent / "cache" / "hashes.json"
        learned = None if adapter is None else adapter_identity(adapter, hashes)
        return Proof(self._loaded.hash, learned, template_hash(renderer))

    def _own_run(self, model: str) -> ModelName:
        if model.startswith("run:"):
            name = parse(model)
            if runs.base_of(self._runs, name.value) == self._base:
                return name
        raise StudioError("chat_model_unknown", model=model, base=self._base)

    def _renderer(self, run: str) -> Renderer:
        folder = runs.tokenizer_folder(self._runs, run)
        key = (folder, folder.stat().st_mtime_ns)
        if key not in self._renderers:
            self._renderers[key] = Renderer.from_folder(folder)
        return self._renderers[key]
