"""No command: open the studio in the browser."""

from __future__ import annotations

from collections.abc import Sequence

from ui.cli.parser import Parser, add_common


def run(arguments: Sequence[str]) -> int:
    """Start the screen in this process, which ends with it. Its own options are passed on to it."""
    parser = Parser(prog="finetune-studio", add_help=False)
    add_common(parser)
    options, rest = parser.parse_known_args(arguments)
    from backend.home import locate_home
    from ui import serve

    home = locate_home(getattr(options, "home", None))
    return serve.main([f"--home={home}", *rest])
