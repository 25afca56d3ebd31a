"""The part of the facade about what is made of runs: merges, measured mixes, exports, and what they left."""

from __future__ import annotations

from typing import Any

from backend import exporting, merging
from backend.api import ExportRequest, ExportRoom, MergeRequest, Product, Unmixable
from backend.api.chat import ChatModel
from backend.extensions import listed
from backend.home import Home
from backend.runs import Runs
from backend.store.database import Store
from studio.exports import exports
from studio.merges import merges


class Products:
    """Needs the home as `_home`, its store as `_store` and its jobs as `_runs`."""

    _home: Home
    _store: Store
    _runs: Runs

    def merges(self) -> list[dict[str, Any]]:
        return listed(merges.all().values())

    def merge(self, request: MergeRequest) -> str:
        with self._store.asked() as connection:
            job = merging.ask(self._home, connection, request)
        return self._runs.claimed(job)

    def mixable(self) -> list[ChatModel]:
        return merging.mixable(self._home)

    def unmixable(self) -> list[Unmixable]:
        return merging.unmixable(self._home)

    def mix_losses(self, model: str) -> str:
        with self._store.asked() as connection:
            job = merging.ask_losses(self._home, connection, model)
        return self._runs.claimed(job)

    def exports(self) -> list[dict[str, Any]]:
        return listed(exports.all().values())

    def export(self, request: ExportRequest) -> str:
        with self._store.asked() as connection:
            job = exporting.ask(self._home, connection, request)
        return self._runs.claimed(job)

    def export_room(self, request: ExportRequest) -> ExportRoom:
        return exporting.room(self._home, request)

    def product(self, run: str) -> Product:
        self._runs.look()
        return merging.product(self._store, self._runs.job(run))
