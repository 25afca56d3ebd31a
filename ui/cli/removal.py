"""Removing what others depend on: refused with their names, unless it is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from studio.errors import StudioError
from ui.cli.parser import Parser

T = TypeVar("T")


def add(parser: Parser) -> None:
    parser.add_argument("--anyway", action="store_true", help="although others were made out of it")


def remove(ask: Callable[[tuple[str, ...]], T], *, anyway: bool) -> T:
    """Ask; with `anyway` once more, knowing the dependents that the refusal names."""
    try:
        return ask(())
    except StudioError as error:
        if error.code != "library_has_dependents" or not anyway:
            raise
        return ask(tuple(error.facts["runs"]))
