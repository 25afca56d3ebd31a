"""A run as a document and as a line of text; following one until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from backend.api import Facade, Product, RunSummary
from studio.errors import StudioError
from ui.cli.output import Output
from ui.fragments.format import duration_text, loss_text, percent_text
from ui.words import Words

# Without a terminal a progress line comes at most this often, in seconds.
_PLAIN_EVERY = 10.0


def document(run: RunSummary, words: Words) -> dict[str, Any]:
    """The fields of DESIGN 8 (`run`, `kind`, `state`, `steps`, ...) and all others that are known; an error
    comes with its words."""
    return asdict(run) | _told(run.error, words)


def _told(error: Mapping[str, Any] | None, words: Words) -> dict[str, Any]:
    """An error with its words, as a field."""
    if error is None:
        return {}
    message, remedy = error_words(error, words)
    return {"error": dict(error) | {"message": message, "remedy": remedy}}


def made_by(
    job: str, facade: Facade, output: Output, said: Callable[[Mapping[str, Any], Output], list[str]]
) -> Product:
    """Show a job's progress until it ends, then what it made; `said`: a sentence for each fact about that."""
    watch(job, facade, output)
    made, words = facade.product(job), output.words
    lines = [f"{made.run}  {words.text(f'state.{made.state}')}  {made.path or ''}".rstrip()]
    lines += [f"  {sentence}" for sentence in said(made.facts, output)]
    if made.error is not None:
        lines += error_words(made.error, words)
    output.result(asdict(made) | _told(made.error, words), "\n".join(lines))
    return made


def line(run: RunSummary, words: Words) -> str:
    """`pirate-1  done  300/300 steps  loss 0.41  eval 0.52`, `download-1  running  62 % of 272 MB`."""
    planned = "?" if run.steps_planned is None else run.steps_planned
    parts = [run.run, words.text(f"state.{run.state}")]
    parts += (
        [f"{run.steps}/{planned} steps"] if run.kind == "train" or run.steps_planned else _size(run, words)
    )
    parts += [f"loss {loss_text(run.loss)}"] if run.loss is not None else []
    parts += [f"eval {loss_text(run.eval_loss)}"] if run.eval_loss is not None else []
    text = "  ".join(parts)
    if run.error is not None:
        text += "\n" + "\n".join(error_words(run.error, words))
    return text


def _size(run: RunSummary, words: Words) -> list[str]:
    """How far a job without steps is, and of how much, as far as that is known."""
    share = [] if run.progress is None else [percent_text(run.progress)]
    if run.size_bytes is None:
        return share
    key = "cli.share_of_bytes" if share else "cli.bytes"
    return [words.text(key, share=share, size_bytes=run.size_bytes)]


def follow(run: str, facade: Facade, output: Output) -> int:
    """Show a run's progress until it ends or waits, then its document: exit code 0 only if it is done."""
    last = watch(run, facade, output)
    output.result(document(last, output.words), line(last, output.words))
    return 0 if last.state == "done" else 1


def watch(run: str, facade: Facade, output: Output) -> RunSummary:
    """Show a job's progress until it ends or waits. Ctrl-C leaves it going and says so."""
    shown = ("", float("-inf"))
    try:
        for now in facade.wait(run):
            # While it trains, evaluating and saving come and go too often for lines of their own.
            told = (now.state if now.steps else f"{now.state}/{now.phase}", time.monotonic())
            if output.replaces_lines or told[0] != shown[0] or told[1] - shown[1] >= _PLAIN_EVERY:
                output.progress(progress(now, output.words))
                shown = told
    except KeyboardInterrupt:
        output.note(output.words.text("cli.run_goes_on", run=run))
    return facade.run(run).summary


def progress(run: RunSummary, words: Words) -> str:
    """What a run is doing, in one line."""
    phase = run.state if run.phase is None else run.phase
    key = f"phase.{phase}" if words.has(f"phase.{phase}") else f"state.{run.state}"
    parts = [run.run, words.text(key)]
    if run.steps and run.steps_planned:
        parts.append(f"{run.steps}/{run.steps_planned}")
    else:
        parts += _size(run, words)
    parts += [f"loss {loss_text(run.loss)}"] if run.loss is not None else []
    parts += [f"eval {loss_text(run.eval_loss)}"] if run.eval_loss is not None else []
    if run.seconds_left is not None:
        parts.append(words.text("cli.left", left=duration_text(run.seconds_left)))
    return "  ".join(parts)


def error_words(error: Mapping[str, Any], words: Words) -> tuple[str, str]:
    """Cause and remedy of what ended a job."""
    return words.error(StudioError(error["code"], **error["facts"]))
