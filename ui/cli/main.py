"""The command line: reads the arguments, opens the facade, runs one command.

Exit codes: 0 done, 1 the studio said no (or a run that was waited for did not end well), 2 bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from backend.api import Facade
from studio.errors import StudioError
from ui.cli import chat, check, estimate, export, gpu, merge, methods, models, runs, screen, serve, train
from ui.cli.output import Output
from ui.cli.parser import Parser, Sub, UsageError, add_common, check_command, first_word
from ui.words import Words

COMMANDS = {
    c.NAME: c for c in (gpu, methods, estimate, check, train, runs, chat, merge, export, serve, models)
}


def main(
    arguments: Sequence[str] | None = None, open_facade: Callable[[str | None], Facade] | None = None
) -> int:
    """Run one command; without a command open the screen. `open_facade` gets the home that was asked for."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(Words("en"), "--json" in given)
    try:
        if first_word(given) is None and not {"-h", "--help"} & set(given):
            return screen.run(given)
        options = _read(given)
        with closing((open_facade or _open)(options.home)) as facade:
            return int(options.run(options, facade, output))
    except UsageError as error:
        output.refuse_usage(str(error))
        return 2
    except StudioError as error:
        output.refuse(error)
        return 1
    except KeyboardInterrupt:
        output.note(output.words.text("cli.interrupted"))
        return 1


def _read(given: Sequence[str]) -> argparse.Namespace:
    word = first_word(given)
    check_command(given, COMMANDS)
    for command in (runs, models):
        if word == command.NAME:
            check_command(given[given.index(word) + 1 :], command.ACTIONS, within=word)
    parser = Parser(prog="finetune-studio", description="Tune language models on your own machine.")
    add_common(parser)
    commands = Sub(parser, "command", required=True)
    for command in COMMANDS.values():
        command.add(commands)
    options = parser.parse_args(given)
    options.home = getattr(options, "home", None)
    return options


def _open(home: str | None) -> Facade:
    from backend.facade import StudioFacade

    return StudioFacade(home, sentences=Words("en").of_errors())
