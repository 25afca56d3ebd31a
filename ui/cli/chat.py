"""`chat`: ask a model, a tuned run, or both side by side."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from backend.api import ChatRequest, Facade
from ui.cli.output import Output
from ui.cli.parser import Sub, UsageError

NAME = "chat"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Chat with a model or a run; without --prompt, line by line.")
    parser.add_argument("model", metavar="MODEL", help="run:ID, starter, a folder, a hub id")
    parser.add_argument("--prompt", action="extend", nargs="+", metavar="TEXT", help="ask this; repeatable")
    parser.add_argument("--compare", action="store_true", help="let the run's base answer too")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N", help="longest answer")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0: the likeliest words")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same answer")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    if options.max_tokens < 1 or options.temperature < 0:
        raise UsageError("--max-tokens is at least 1, --temperature at least 0")
    prompts = options.prompt or _typed(output)
    answers = [ask(options, prompt, facade, output) for prompt in prompts]
    if output.as_json:
        output.result({"answers": answers}, "")
    return 0


def ask(options: Namespace, prompt: str, facade: Facade, output: Output) -> dict[str, Any]:
    """One prompt answered; a person sees the words as they come."""
    request = ChatRequest(
        model=options.model,
        messages=[{"role": "user", "content": prompt}],
        compare=options.compare,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=options.seed,
    )
    sides: dict[str, str] = {}
    for delta in facade.chat(request):
        new = delta.side not in sides
        sides[delta.side] = sides.get(delta.side, "") + delta.text
        # Two answers may come at the same time: the first is shown as it grows, the second after it.
        if delta.side == next(iter(sides)):
            output.piece((f"{delta.side}: " if new else "") + delta.text + ("\n" if delta.done else ""))
    for side in list(sides)[1:]:
        output.piece(f"{side}: {sides[side]}\n")
    return {"prompt": prompt, "base": sides.get("base"), "tuned": sides.get("tuned"), "seed": options.seed}


def _typed(output: Output) -> Iterator[str]:
    """Lines of standard input as prompts, until it ends."""
    if sys.stdin.isatty():
        output.note(output.words.text("cli.chat_hint"))
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
