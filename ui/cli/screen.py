"""No command: open the studio in the browser, or the one that runs on this home already."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ui.cli.parser import Parser


def run(arguments: Sequence[str]) -> int:
    """Start the screen in this process; ends with it."""
    parser = Parser(prog="finetune-studio")
    parser.add_argument("--home")
    parser.add_argument("--port")
    parser.add_argument("--host")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    from backend.home import locate_home
    from ui import running, serve

    home = locate_home(options.home)
    if (open_already := running.find(home)) is not None:
        print(open_already.url, file=sys.stderr)
        if not options.no_browser:
            running.open_browser(open_already.url)
        return 0
    passed = [f"--{key}={value}" for key in ("port", "host") if (value := getattr(options, key)) is not None]
    return serve.main([f"--home={home}", *passed, *(["--no-browser"] if options.no_browser else [])])
