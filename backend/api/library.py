"""The models on this disk: what they take, who made them, who depends on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Dependent:
    """A job that reads something. `needs`: it can't answer without it; else it was made out of it and stands
    alone, but can't be made again."""

    run: str
    kind: str
    needs: bool


@dataclass(frozen=True)
class Holding:
    """Something on the disk that answers, or that something else is made of.

    `removal`: `delete` (its files go), `forget` (it is only listed no more), None (it came with the studio).
    Deleting what a run made deletes the run; what it put outside the home (`stays`) is left alone. `made_of`:
    the models that went into a merge or an export, by name. `in_use`: jobs that are queued or at work with
    it, which is why it can't go now.
    """

    name: str  # grammar of DESIGN 3
    kind: str  # base | adapter | checkpoint | merge | export
    title: str
    path: str
    state: str  # whole | incomplete | missing
    size_bytes: int
    frees_bytes: int
    removal: str | None
    made_by: str | None = None  # id of the job
    base: str | None = None
    made_of: tuple[str, ...] = ()
    stays: str | None = None
    dependents: tuple[Dependent, ...] = ()
    in_use: tuple[str, ...] = ()

    @property
    def needed_by(self) -> tuple[str, ...]:
        """Jobs whose models would never answer again without it. What is only forgotten stays where it is,
        and a base can be downloaded again."""
        lost = self.removal == "delete" and self.kind != "base"
        return tuple(d.run for d in self.dependents if d.needs) if lost else ()


@dataclass(frozen=True)
class DiskUse:
    """What the studio takes, and what is left where it keeps things.

    `home_bytes` is the home as a whole, `hub_bytes` the models in the hub's cache. `warning`: `disk_low`
    (less than a tenth is free), `quota_passed` (more than the person wished), None.
    """

    home: str
    home_bytes: int
    hub: str
    hub_bytes: int
    free_bytes: int
    total_bytes: int
    quota_bytes: int | None
    warning: str | None


@dataclass(frozen=True)
class Library:
    """All that is on the disk: bases first, then what runs, merges and exports made, newest first."""

    holdings: tuple[Holding, ...]
    disk: DiskUse


class LibraryFacade(Protocol):
    """The part of the facade about models on the disk."""

    def library(self) -> Library: ...

    def download(self, model: str) -> str:
        """Queue the download of a model of the hub, or go on with one that was cut off; gives the job's id,
        which `wait`, `stop` and `resume` take."""
        ...

    def register(self, folder: str) -> str:
        """List a folder with a model in it from now on; gives the model's name."""
        ...

    def remove(self, name: str, knowing: tuple[str, ...] = ()) -> Holding:
        """Delete (or, where it is only listed, forget) something of the library; gives what it was.

        `knowing` are the dependents that the person was told of: others are a reason to refuse, and so is one
        that would never answer again (`Holding.needed_by`).
        """
        ...

    def set_quota(self, quota_bytes: int | None) -> None:
        """Warn once the studio takes more than this; None: no more."""
        ...
