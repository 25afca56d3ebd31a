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
from backend.parts import Recipe, recipe_of
from studio.data.render import Renderer
from studio.errors import StudioError
from studio.identity import adapter_identity
from studio.manifests import held_in, require_same_base
from studio.names import ModelName, mix_of, parse

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
            renderer = self._renderer(self._own(order.template_of))
        if order.model in ("base", self._base):
            return Voice(loaded.decoder, renderer, self._proof(renderer))
        name = self._own(order.model)
        if name.kind == "mix":
            return self._mixed(recipe_of(self._runs, mix_of(name)))
        folder = runs.adapter_folder(self._runs, name)
        self._require_own_base(name.value, folder)
        renderer = self._renderer(name)
        proof = self._proof(renderer, adapter_identity(folder, self._hashes))
        method, params = runs.method_of(self._runs, name.value)
        if method.served(params) != "batched":
            decoder, name_there = loaded.tuned.require(folder, method, params)
            return Voice(decoder, renderer, proof, name_there)
        adapter = loaded.adapters.require(folder, loaded.decoder.adapters_in_use())
        return Voice(loaded.decoder, renderer, proof, adapter)

    def _mixed(self, recipe: Recipe) -> Voice:
        """Adapters combined in memory, or weights between the base and a run: what `merge` would write
        answers."""
        from studio.merge.combine import combine_in_memory

        require_same_base([part.folder for part in recipe.parts])
        self._require_own_base(recipe.parts[0].name, recipe.parts[0].folder)
        renderer = self._loaded.renderer if recipe.tokenizer is None else self._read(recipe.tokenizer)
        hash = recipe.hash(self._hashes)
        if recipe.whole is not None:
            part, method, params = recipe.whole
            decoder = self._loaded.tuned.between(part.folder, method, params, part.weight)
            return Voice(decoder, renderer, self._proof(renderer, hash))
        quantisation = held_in([part.folder for part in recipe.parts])
        decoder, pool = self._loaded.decoder, self._loaded.adapters
        if quantisation is not None:
            shared = self._loaded.tuned.quantised(quantisation)
            decoder, pool = shared.decoder, shared.adapters
        adapter = pool.require_made(
            hash,
            lambda: combine_in_memory(recipe.inputs, recipe.how, recipe.params),
            decoder.adapters_in_use(),
        )
        return Voice(decoder, renderer, self._proof(renderer, hash), adapter)

    def _require_own_base(self, name: str, adapter: Path) -> None:
        if runs.trained_on(adapter) != self._loaded.hash:
            # Its base was replaced since: over other weights the adapter would answer nonsense.
            raise StudioError("run_base_changed", run=name, base=self._base)

    def _proof(self, renderer: Renderer, adapter: str | None = None) -> Proof:
        return Proof(self._loaded.hash, adapter, template_hash(renderer))

    @property
    def _hashes(self) -> Path:
        return self._runs.parent / "cache" / "hashes.json"

    def _own(self, model: str) -> ModelName:
        """The name of something that answers over this base."""
        if model.startswith(("run:", "merge:", "mix:")):
            name = parse(model)
            if runs.answered_by(self._runs, name) == self._base:
                return name
        raise StudioError("chat_model_unknown", model=model, base=self._base)

    def _renderer(self, name: ModelName) -> Renderer:
        """In the template of this run, merge or mix."""
        if name.kind != "mix":
            return self._read(runs.tokenizer_folder(self._runs, name.value))
        folder = recipe_of(self._runs, mix_of(name)).tokenizer
        return self._loaded.renderer if folder is None else self._read(folder)

    def _read(self, folder: Path) -> Renderer:
        key = (folder, folder.stat().st_mtime_ns)
        if key not in self._renderers:
            self._renderers[key] = Renderer.from_folder(folder)
        return self._renderers[key]
