"""The studio home: the one folder under which everything a person made is kept.

    <home>/studio.db   the store           <home>/runs/<id>/  one folder per job
    <home>/data/       rows and uploads    <home>/cache/      can be deleted at any time
    <home>/logs/       what belongs to no job

The home must be local: SQLite's write-ahead log needs shared memory, which network file systems do not give.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from studio.errors import StudioError

_NETWORK_KINDS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "afs", "webdav", "davfs", "ceph", "glusterfs"}
    | {"lustre", "gpfs", "beegfs", "ocfs2", "panfs"}
)
_NETWORK_FUSE = frozenset({"sshfs", "glusterfs", "s3fs", "gcsfuse", "rclone", "davfs2", "ceph-fuse"})
FOLDERS = ("runs", "data", "cache", "logs")


@dataclass(frozen=True)
class Home:
    """A home that was opened: its folders are there and can be written."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "studio.db"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def surveys(self) -> Path:
        """What was found of models of families that are not known."""
        return self.cache / "surveys"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def run(self, id: str) -> Path:
        """Folder of one job; it need not exist."""
        return self.runs / id

    def log(self, id: str) -> Path:
        """Log file of one job."""
        return self.run(id) / "log.txt"


def locate_home(chosen: str | Path | None = None) -> Path:
    """The home a person means: what they gave, else `STUDIO_HOME`, else the platform's data directory."""
    if chosen:
        return Path(chosen).expanduser().absolute()
    if from_environment := os.environ.get("STUDIO_HOME"):
        return Path(from_environment).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("finetune-studio", appauthor=False))


def open_home(root: Path) -> Home:
    """Make the folders of a home where they are missing.

    Raises `StudioError`: `home_on_network` (path, file_system), `home_not_a_folder` (path),
    `home_not_writable` (path, detail).
    """
    kind = network_file_system(root, _mounts())
    if kind is not None:
        raise StudioError("home_on_network", path=str(root), file_system=kind)
    home = Home(root)
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in FOLDERS:
            (root / name).mkdir(exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StudioError("home_not_a_folder", path=str(error.filename or root)) from error
    except OSError as error:
        raise StudioError("home_not_writable", path=str(root), detail=error.strerror) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise StudioError("home_not_writable", path=str(root), detail="permission denied")
    return home


def require_room(folder: Path, needed: int) -> None:
    """Raise `StudioError("disk_full")` (path, needed_bytes, free_bytes) if there is less than `needed`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StudioError("disk_full", path=str(folder), needed_bytes=needed, free_bytes=free)


def network_file_system(path: Path, mounts: Iterable[tuple[str, str]]) -> str | None:
    """The kind of network file system that `path` lies on, None if it is local.

    `mounts` are (mount point, kind) in the order of mounting; of two on one point the later one shows.
    """
    resolved = path.resolve()
    best: tuple[int, str] = (-1, "")
    for point, kind in mounts:
        depth = len(Path(point).parts)
        if depth >= best[0] and resolved.is_relative_to(point):
            best = (depth, kind)
    kind = best[1].lower()
    network = kind in _NETWORK_KINDS or (kind.startswith("fuse.") and kind[5:] in _NETWORK_FUSE)
    return kind if network or kind == "remote" else None


def _mounts() -> list[tuple[str, str]]:
    import psutil

    parts = psutil.disk_partitions(all=True)
    return [(p.mountpoint, "remote" if "remote" in p.opts.split(",") else p.fstype) for p in parts]
