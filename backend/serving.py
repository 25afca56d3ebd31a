"""`serve` from outside: the job that keeps models on an address, its key, and where it answers. No torch.

Two files in the job's folder, readable by their owner only: `key`, there before the worker is, and
`endpoint.json`, there while it answers.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.api import Endpoint, ServeRequest
from backend.chat import runs
from backend.chat.protocol import Limits
from backend.home import Home
from backend.hosts import is_loopback
from backend.jobs import record
from backend.jobs.processes import Identity, alive, own_identity
from backend.parts import require_adapters
from backend.store.database import Store
from studio.errors import StudioError
from studio.models.locate import locate
from studio.names import parse

_KEY, _ENDPOINT = "key", "endpoint.json"


@dataclass(frozen=True)
class ServePlan:
    """What a job of kind `serve` does. `model` is for the list of runs: the only one, or else the base."""

    model: str
    models: tuple[str, ...]
    base: str
    host: str
    port: int | None
    device: str | None
    limits: Limits

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> ServePlan:
        return cls(**{**body, "models": tuple(body["models"]), "limits": Limits(**body["limits"])})


def start(home: Home, store: Store, request: ServeRequest, key: str | None) -> str:
    """Queue the job; gives its id. Without a `key` one is drawn.

    Raises:
        StudioError: `api_key_needed` (host) where others could reach it and no key was given,
            `serve_bases_differ` (models, bases), those of `locate` and of `backend.chat.runs` for what is not
            there.
    """
    if key is None and not is_loopback(request.host):
        raise StudioError("api_key_needed", host=request.host)
    models = tuple(dict.fromkeys(str(parse(model)) for model in request.models))
    base = _one_base(home, models)
    locate(base, home.runs)
    limits = Limits(request.body_bytes, request.rows, request.waiting, request.max_tokens)
    model = models[0] if len(models) == 1 else base
    plan = ServePlan(model, models, base, request.host, request.port, request.device, limits)
    with store.asked() as connection:
        id = record.new_id(connection, "serve", os.listdir(home.runs))
        home.run(id).mkdir()
        _write_private(home.run(id) / _KEY, key or secrets.token_urlsafe(32))
        # It holds no device: what trains there goes on, and chat beside it too.
        record.add(connection, id, "serve", asdict(plan))
    return id


def _one_base(home: Home, models: Sequence[str]) -> str:
    """The base that all these models share, once all of them can answer."""
    bases = []
    for model in models:
        name = parse(model)
        require_adapters(home.runs, name)
        bases.append(runs.answered_by(home.runs, name))
    if len(set(bases)) > 1:
        raise StudioError("serve_bases_differ", models=list(models), bases=bases)
    return bases[0]


def key_of(home: Home, job: str) -> str:
    """The key that opens this job's endpoint."""
    return (home.run(job) / _KEY).read_text(encoding="utf-8")


def announce(home: Home, job: str, url: str, models: Sequence[str]) -> None:
    """Say that this process answers now."""
    body = {"url": url, "models": list(models), "process": asdict(own_identity())}
    _write_private(home.run(job) / _ENDPOINT, json.dumps(body))


def withdraw(home: Home, job: str) -> None:
    """Take back what `announce` said."""
    (home.run(job) / _ENDPOINT).unlink(missing_ok=True)


def endpoint(home: Home, job: str) -> Endpoint | None:
    """Where this job answers; None while it does not."""
    try:
        body = json.loads((home.run(job) / _ENDPOINT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not alive(Identity(**body["process"])):
        return None
    return Endpoint(job, body["url"], key_of(home, job), tuple(body["models"]))


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
