"""Models from the Hugging Face hub, through the hub's own client and into its own cache.

A login is read by the client where it keeps it (`hf auth login`, HF_TOKEN); nothing here stores one.
HF_ENDPOINT and HF_HOME are honoured by the client. Its telemetry is switched off before it is imported.

Within one call the client goes on where a connection broke off; after a killed process it keeps the files
that were complete and starts the broken one again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.models.config import load_config
from studio.models.folder import check_causal, check_weights, name_the_foreign, needed_files
from studio.models.headers import weight_files

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

_SHA256 = re.compile(r"[0-9a-f]{64}")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HubFile:
    """One file of a repository; `sha256` is known for large files."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class HubRepo:
    """A repository at one commit, with all its files. `gated`: it wants its terms accepted on its page."""

    repo: str
    commit: str
    gated: bool
    licence: str | None
    files: tuple[HubFile, ...]

    @property
    def needed(self) -> tuple[HubFile, ...]:
        """The files that loading the model takes."""
        wanted = set(needed_files([f.name for f in self.files]))
        return tuple(f for f in self.files if f.name in wanted)


def hub_files(repo: str, revision: str | None = None) -> HubRepo:
    """Ask the hub what a repository holds.

    Raises StudioError `hub_gated`, `hub_gated_refused`, `hub_missing`, `hub_revision_missing`,
    `hub_login_invalid`, `hub_offline`, `hub_failed`.
    """
    from huggingface_hub import HfApi

    with refusals(repo, revision):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    files = tuple(
        HubFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None) for s in info.siblings or ()
    )
    licence = info.card_data.get("license") if info.card_data else None
    return HubRepo(repo, info.sha or "", bool(info.gated), licence, files)


def fetch_config(repo: str, revision: str | None = None) -> Path:
    """A repository's config.json, from the cache or the hub; errors as for `hub_files`, and `model_foreign`
    if it has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        with refusals(repo, revision):
            return Path(hf_hub_download(repo, "config.json", revision=revision))
    except RemoteEntryNotFoundError:
        names = [f.name for f in hub_files(repo, revision).files]
        raise name_the_foreign(names, repo) from None


def download(repo: str, revision: str | None, progress: Progress) -> Path:
    """The folder of a repository's model on this disk, fetched as far as it is not there yet.

    `progress(done, total)` is called in bytes, from several threads but one call at a time. Without a
    connection a copy that is complete serves. Errors as for `hub_files` and `check_causal`, and
    `model_weights_pickle`, `model_weights_missing`, `hub_disk_full`, `hub_broken_off`,
    `hub_cache_unwritable`.
    """
    try:
        listing = hub_files(repo, revision)
    except StudioError as error:
        folder = local_folder(repo, revision) if error.code == "hub_offline" else None
        if folder is None:
            raise
        return folder
    names = [f.name for f in listing.files if "/" not in f.name]
    if "config.json" not in names:
        raise name_the_foreign(names, repo)
    check_weights(names, repo)
    _check_room(listing)
    check_causal(load_config(fetch_config(repo, revision)), repo)
    return _fetch(listing, revision, progress)


def local_folder(repo: str, revision: str | None = None) -> Path | None:
    """The complete copy of a repository in the hub's cache, None if there is none. No connection is made."""
    from huggingface_hub import constants

    # A look at the folder spares the client's slow imports when there is nothing.
    root = Path(constants.HF_HUB_CACHE).expanduser() / f"models--{repo.replace('/', '--')}"
    if not (root / "snapshots").is_dir():
        return None
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=[]))
        listed = [f.path for f in get_cached_repo_tree(repo, revision=revision)]
    except LocalEntryNotFoundError:
        return None
    except CachedRepoTreeNotFoundError:  # fetched by an older client, which kept no listing
        listed = ["config.json", *(p.name for p in folder.iterdir())]
    complete = all((folder / name).is_file() for name in needed_files(listed))
    return folder if complete and weight_files(listed) else None


def known_hashes(folder: Path) -> dict[str, str]:
    """sha256 of the large files in a snapshot folder by name, without reading them.

    The client names the blob behind each file after the hash that the hub gave for it and checks its size.
    """
    names = {p.name: Path(os.path.realpath(p)).name for p in folder.iterdir()}
    return {name: blob for name, blob in names.items() if _SHA256.fullmatch(blob)}


def _check_room(listing: HubRepo) -> None:
    """The client only warns when the disk is too small; a refusal before the first byte is kinder."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudioError("hub_cache_unwritable", path=str(cache), detail=error.strerror) from None
    have = _cached_names(listing)
    needed = sum(f.size for f in listing.needed if f.name not in have)
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise StudioError(
            "hub_disk_full", repo=listing.repo, needed_bytes=needed, free_bytes=free, path=str(cache)
        )


def _cached_names(listing: HubRepo) -> set[str]:
    from huggingface_hub import try_to_load_from_cache

    names = (f.name for f in listing.needed)
    return {
        n for n in names if isinstance(try_to_load_from_cache(listing.repo, n, revision=listing.commit), str)
    }


def _fetch(listing: HubRepo, revision: str | None, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download

    have = _cached_names(listing)
    total = sum(f.size for f in listing.needed)
    done = sum(f.size for f in listing.needed if f.name in have)
    progress(done, total)
    with refusals(listing.repo, revision):
        return Path(
            snapshot_download(
                listing.repo,
                revision=revision,
                allow_patterns=[f.name for f in listing.needed],
                max_workers=4,
                tqdm_class=_byte_counter(done, total, progress),
            )
        )


def _byte_counter(done: int, total: int, progress: Progress) -> Any:
    """A silent progress bar class for the client: it passes on the bytes written, summed over the files."""
    from huggingface_hub.utils.tqdm import tqdm

    lock = threading.Lock()

    class ByteCounter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # The client makes three bars: bytes over the network, bytes written, files done.
            self._written = kwargs.get("name") == "huggingface_hub.snapshot_download"
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            nonlocal done
            if self._written:
                with lock:
                    done += int(n or 0)
                    progress(min(done, total), total)

    return ByteCounter


@contextmanager
def refusals(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the client's exceptions about a repository into StudioErrors."""
    import httpx2  # the client's own transport
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise StudioError(_gated_code(), repo=repo, page=f"{_endpoint()}/{repo}") from None
    except errors.RevisionNotFoundError:
        raise StudioError("hub_revision_missing", repo=repo, revision=revision) from None
    except errors.RepositoryNotFoundError:
        raise StudioError("hub_missing", repo=repo) from None
    except errors.RemoteEntryNotFoundError:
        raise  # the caller knows what it asked for
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise StudioError("hub_login_invalid", repo=repo) from None
        raise StudioError("hub_failed", repo=repo, status=status, detail=error.server_message) from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout, errors.OfflineModeIsEnabled) as error:
        raise StudioError("hub_offline", repo=repo, endpoint=_endpoint(), detail=str(error)) from None
    except (errors.LocalEntryNotFoundError, httpx2.TransportError) as error:
        raise StudioError("hub_broken_off", repo=repo, detail=str(error)) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StudioError("hub_disk_full", repo=repo, needed_bytes=None, free_bytes=0, path="") from None
        if error.errno is None:  # the client's own consistency check: fewer bytes than announced
            raise StudioError("hub_broken_off", repo=repo, detail=str(error)) from None
        raise StudioError("hub_cache_unwritable", path=error.filename, detail=error.strerror) from None


def _gated_code() -> str:
    from huggingface_hub import get_token

    return "hub_gated_refused" if get_token() else "hub_gated"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
