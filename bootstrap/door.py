"""The way in: what the words after `launch.py` mean, and how studio, commands and tests are started."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from bootstrap.checkout import WINDOWS, Checkout
from bootstrap.refusal import Refusal

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    *("gpu", "methods", "estimate", "check", "train", "runs"),
    *("chat", "merge", "export", "serve", "models"),
)
TIERS = {
    "--unit": "not worker and not e2e and not slow and not gpu",
    "": "not slow",
    "--all": "",
}


def main(arguments: Sequence[str]) -> int:
    """Run one call of launch.py; gives the exit code (0 done, 1 refused, 2 wrong usage)."""
    options = _parser().parse_args(arguments)
    try:
        return _run(Checkout(ROOT), options)
    except Refusal as refusal:
        print(f"{refusal.message}\n{refusal.remedy}", file=sys.stderr)
        if "--json" in arguments:
            print(json.dumps(refusal.as_dict()))
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next call goes on from here.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch.py",
        usage="launch.py [OPTION ...] [COMMAND ...]",
        description="Open Finetune Studio, or run one of its commands. The first call installs it.",
        epilog="COMMAND --help tells more. test [--unit | --all] runs the tests.",
        allow_abbrev=False,
    )
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), help="which build of torch to install")
    parser.add_argument(
        "--home", help="folder for runs and data (default: STUDIO_HOME, else your data folder)"
    )
    parser.add_argument("--host", help="address to listen on; other than this computer needs STUDIO_PASSWORD")
    parser.add_argument("--port", help="port of the page (default: the first free one from 7860 on)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open no browser")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help=f"test, {', '.join(COMMANDS)}"
    )
    return parser


def _run(checkout: Checkout, options: argparse.Namespace) -> int:
    word, *rest = options.command or [""]
    home = find_home(_value_of("--home", rest) or options.home)
    if word == "test":
        return _test(checkout, options.torch, home, rest)
    prepare(checkout, options.torch, (), home)
    if word:
        ahead = [*_passed_on(options, ("home",)), *(["--json"] if options.json else [])]
        _become([str(checkout.python), "-P", "-m", "ui.cli", word, *ahead, *rest])
    page = ["--home", str(home), *_passed_on(options, ("host", "port"))]
    quiet = ["--no-browser"] if options.no_browser else []
    _become([str(checkout.python), "-P", "-m", "ui.serve", *page, *quiet])


def prepare(checkout: Checkout, torch: str | None, extras: Collection[str], home: Path) -> None:
    """Install or upgrade where it is needed, but never under a run or an open studio.

    Raises:
        Refusal: if it is needed and cannot be done now.
    """
    stamp = checkout.stamp()
    if stamp is not None and checkout.serves(stamp, torch, extras):
        return
    from bootstrap.busy import busy
    from bootstrap.install import install

    reason = busy(home) if stamp is not None else None
    if stamp is None or reason is None:
        install(checkout, torch, extras)
    elif torch not in (None, stamp.torch) or not set(extras) <= set(stamp.extras):
        raise Refusal(
            "studio_busy",
            f"The installation cannot be changed now: {reason}.",
            "Wait until that has ended, or stop it, then try again.",
        )
    else:
        print(f"An update of the installation waits: {reason}.", file=sys.stderr)


def find_home(chosen: str | None) -> Path:
    """The studio's home: the one given, else `STUDIO_HOME`, else the platform's data folder.

    The same answer as the backend's, which may use a package for it; a test holds the two together.
    """
    if given := chosen or os.environ.get("STUDIO_HOME"):
        return Path(given).expanduser().absolute()
    if WINDOWS:
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
    return Path(base).expanduser() / "finetune-studio"


def _test(checkout: Checkout, torch: str | None, home: Path, rest: list[str]) -> int:
    """`test [--unit | --all] [what pytest takes]`: two processes with one torch thread each."""
    tier = next((word for word in rest if word in TIERS), "")
    given = [word for word in rest if word not in TIERS]
    prepare(checkout, torch, ("test",), home)
    os.chdir(checkout.root)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    selection = ["-m", TIERS[tier]] if TIERS[tier] else []
    # The tests of one file share what they start, so they stay in one of the two; in the order of the folders
    # the small ones are last, and neither process ends long before the other.
    shared = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    _become([str(checkout.python), "-m", "pytest", *shared, *selection, *given])


def _value_of(option: str, words: Sequence[str]) -> str | None:
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(option + "="):
            return word.partition("=")[2]
    return None


def _passed_on(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    given = ((name, getattr(options, name)) for name in names)
    return [word for name, value in given if value is not None for word in (f"--{name}", value)]


def _become(command: list[str]) -> NoReturn:
    """Go on as this program, so that a signal meant for it reaches it and its exit code is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    if WINDOWS:
        import subprocess

        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)
