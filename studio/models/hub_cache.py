"""What the hub's cache holds on this disk, and how a repository leaves it. No connection is made.

The cache belongs to every program of this computer that uses the hub's client, and keeps more than models
that can be tuned; only those are listed.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from studio.errors import StudioError
from studio.files import remove_folder, tree_bytes
from studio.models import hub
from studio.models.config import load_config
from studio.models.folder import check_causal

_START = "models--"
# A download that is alive writes many times a minute, whichever program it belongs to.
_ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True)
class CachedRepo:
    """A repository in the cache, with all its revisions. `complete`: its newest one can be loaded."""

    repo: str
    folder: Path
    size_bytes: int
    complete: bool


def cache_folder() -> Path:
    """Where the hub's client keeps its downloads; it need not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def cached_repos() -> list[CachedRepo]:
    """The models that can be tuned and are in the cache, whole or begun, by name."""
    found = (_cached(folder) for folder in sorted(cache_folder().glob(f"{_START}*--*")))
    return [repo for repo in found if repo is not None]


def repo_folder(repo: str) -> Path:
    """Where the cache keeps a repository."""
    return cache_folder() / f"{_START}{repo.replace('/', '--')}"


def clear_abandoned(repo: str) -> None:
    """Delete what a killed download left of the file that it was at: the client writes to a new name each
    time, and never comes back to it."""
    for part in repo_folder(repo).glob("blobs/*.incomplete"):
        if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
            part.unlink(missing_ok=True)


def remove(repo: str) -> None:
    """Take a repository out of the cache, with all its revisions and what was begun.

    Raises:
        StudioError: `model_not_on_disk` (name), and what `studio.files.remove_folder` raises.
    """
    folder = repo_folder(repo)
    if not folder.is_dir():
        raise StudioError("model_not_on_disk", name=f"hub:{repo}")
    remove_folder(folder, cache_folder())
    shutil.rmtree(cache_folder() / ".locks" / folder.name, ignore_errors=True)


def _cached(folder: Path) -> CachedRepo | None:
    repo = folder.name.removeprefix(_START).replace("--", "/", 1)
    configs = list(folder.glob("snapshots/*/config.json"))
    if not any(_can_be_tuned(config) for config in configs):
        return None
    complete = hub.local_folder(repo) is not None
    # Who only looks a model up has its config.json fetched too: that is no download.
    if not complete and len(list(folder.glob("blobs/*"))) <= len(configs):
        return None
    return CachedRepo(repo, folder, tree_bytes(folder), complete)


def _can_be_tuned(config: Path) -> bool:
    try:
        check_causal(load_config(config), str(config))
    except StudioError:
        return False
    return True
