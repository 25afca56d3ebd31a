"""Arguments: a parser whose errors carry a suggestion, and the options that every command takes."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_WITH_VALUE = frozenset({"--home", "--port", "--host"})


class UsageError(Exception):
    """The command line cannot be read; the message says how it can."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of ending the process, and takes no shortened options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


class Sub:
    """The sub-commands of a parser, each with `--home` and `--json` after it as well as before."""

    def __init__(self, parser: Parser, dest: str, *, required: bool) -> None:
        self._actions = parser.add_subparsers(dest=dest, metavar="COMMAND", required=required)

    def add(self, name: str, help: str) -> Parser:
        parser: Parser = self._actions.add_parser(name, help=help, description=help)
        add_common(parser)
        return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """`--home` and `--json`; left out here, they keep what an outer parser read."""
    parser.add_argument(
        "--home", default=argparse.SUPPRESS, help="folder for runs and data (default: STUDIO_HOME)"
    )
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="one JSON document on standard output"
    )


def check_command(arguments: Sequence[str], known: Iterable[str], within: str = "") -> None:
    """Raise UsageError with the nearest command if the first word is none of the known ones.

    `within` is the command before it, if there is one.
    """
    word = first_word(arguments)
    names = list(known)
    if word is None or word in names:
        return
    near = difflib.get_close_matches(word, names, n=1)
    said = f"{within} {word}".strip()
    hint = f" Did you mean '{f'{within} {near[0]}'.strip()}'?" if near else ""
    raise UsageError(f"There is no command '{said}'.{hint}\nCommands: {', '.join(names)}")


def first_word(arguments: Sequence[str]) -> str | None:
    """The first argument that is neither an option nor the value of one that may stand before a command."""
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _WITH_VALUE:
            skip = True
        elif not argument.startswith("-"):
            return argument
    return None


def set_pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    """The settings of `--set KEY=VALUE`, in the order given. Raises `UsageError`."""
    found = []
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set takes KEY=VALUE, not '{pair}'")
        found.append((key.strip(), value))
    return found
