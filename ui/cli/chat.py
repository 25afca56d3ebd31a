"""`chat`: ask a model, a tuned run, or both side by side."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from backend.api import Facade
from backend.api.chat import ChatRequest, Pane, Sampling
from studio.errors import StudioError
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
    """One prompt answered; a person sees the words as they come. What kept one of two from answering is
    raised once the other has."""
    base = facade.base_of(options.model)
    models = {"base": options.model} if base is None else {"tuned": options.model}
    if options.compare and base is not None:
        models = {"base": base, **models}
    messages = [{"role": "user", "content": prompt}]
    request = ChatRequest(
        tuple(Pane(model, messages) for model in models.values()),
        Sampling(options.max_tokens, options.temperature, seed=options.seed),
    )
    names = list(models)
    said: dict[str, str] = {}
    failed: StudioError | None = None
    for delta in facade.chat(request):
        if delta.error is not None:
            failed = failed or StudioError.from_dict(delta.error)
        side = names[delta.pane]
        if delta.error is not None and side not in said:
            continue
        new = side not in said
        said[side] = said.get(side, "") + delta.text
        # Two answers may come at the same time: the first is shown as it grows, the second after it.
        if side == next(iter(said)):
            output.piece((f"{side}: " if new else "") + delta.text + ("\n" if delta.done else ""))
    for side in list(said)[1:]:
        output.piece(f"{side}: {said[side]}\n")
    if failed is not None:
        raise failed
    return {"prompt": prompt, "base": said.get("base"), "tuned": said.get("tuned"), "seed": options.seed}


def _typed(output: Output) -> Iterator[str]:
    """Lines of standard input as prompts, until it ends."""
    if sys.stdin.isatty():
        output.note(output.words.text("cli.chat_hint"))
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
