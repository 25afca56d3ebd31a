"""Where the home is, what it refuses, and how it says that there is no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.home import FOLDERS, locate_home, network_file_system, open_home, require_room
from studio.errors import StudioError

MOUNTS = [
    ("/", "ext4"),
    ("/home", "xfs"),
    ("/home/ann", "nfs4"),
    ("/home/ann/fast", "ext4"),
    ("/mnt/share", "cifs"),
    ("/mnt/ssh", "fuse.sshfs"),
    ("/mnt/ntfs", "fuse.ntfs-3g"),
    ("/mnt/twice", "nfs"),
    ("/mnt/twice", "tmpfs"),
    ("/mnt/mapped", "remote"),
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/home", None),
        ("/home/bob/.local/share", None),
        ("/home/annika", None),
        ("/home/ann", "nfs4"),
        ("/home/ann/.local/share/finetune-studio", "nfs4"),
        ("/home/ann/fast/studio", None),
        ("/mnt/share/x", "cifs"),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/mnt/ntfs/x", None),
        ("/mnt/twice/x", None),
        ("/mnt/mapped/x", "remote"),
    ],
)
def test_network_file_systems_are_told_from_local_ones(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), MOUNTS) == kind


def test_a_home_on_the_network_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.home._mounts", lambda: [("/", "nfs4")])
    with pytest.raises(StudioError) as caught:
        open_home(tmp_path / "home")
    assert caught.value.code == "home_on_network"
    assert caught.value.facts["file_system"] == "nfs4"
    assert not (tmp_path / "home").exists()


def test_a_new_home_has_its_folders_and_is_private(tmp_path: Path) -> None:
    home = open_home(tmp_path / "deep" / "home")
    assert sorted(p.name for p in home.root.iterdir()) == sorted(FOLDERS)
    assert home.root.stat().st_mode & 0o077 == 0
    assert open_home(home.root) == home


def test_a_file_in_the_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")
    with pytest.raises(StudioError) as caught:
        open_home(tmp_path / "home")
    assert caught.value.as_dict() == {
        "code": "home_not_a_folder",
        "facts": {"path": str(tmp_path / "home")},
    }
    assert (tmp_path / "home").read_text() == "mine"


def test_a_home_on_a_read_only_place_is_named() -> None:
    """/proc can't be written, not even by root."""
    with pytest.raises(StudioError) as caught:
        open_home(Path("/proc/studio-home"))
    assert caught.value.code == "home_not_writable"
    assert caught.value.facts["path"] == "/proc/studio-home"


def test_where_the_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "from-environment"))
    assert locate_home(tmp_path / "given") == tmp_path / "given"
    assert locate_home(None) == tmp_path / "from-environment"
    monkeypatch.delenv("STUDIO_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert locate_home(None) == tmp_path / "share" / "finetune-studio"


def test_no_room_gives_needed_and_free_bytes(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    with pytest.raises(StudioError) as caught:
        require_room(tmp_path, 1 << 60)
    assert caught.value.code == "disk_full"
    assert caught.value.facts["needed_bytes"] == 1 << 60
    assert 0 < caught.value.facts["free_bytes"] < 1 << 60
