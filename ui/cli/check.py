"""`check`: what a dataset is, what is wrong in it, and how long its rows are."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from backend.api import CheckReport, Facade
from studio.sentences import fact_text
from ui.cli.output import Output
from ui.cli.parser import Sub
from ui.words import Words

NAME = "check"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Look at a dataset: its format, its rows, and what is wrong in them.")
    parser.add_argument("dataset", metavar="DATASET", help="a sample's name or a file")
    parser.add_argument("--model", metavar="MODEL", help="count tokens as this model does")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    report = facade.check(options.dataset, options.model)
    output.result(document(report, output.words), text(report, output.words))
    return 0


def document(report: CheckReport, words: Words) -> dict[str, Any]:
    """`format`, `rows`, `problems` in words, how many there are of each code, `tokens` (null without a
    model)."""
    return {
        "dataset": report.dataset,
        "format": report.format,
        "reason": words.reason(report.reason),
        "rows": report.rows,
        "heldout_rows": report.heldout_rows,
        "problems": [_problem(p, words) for p in report.problems],
        "problem_counts": dict(report.problem_counts),
        "tokens": report.tokens,
    }


def text(report: CheckReport, words: Words) -> str:
    lines = [f"{report.dataset}: {report.format}, {report.rows} rows. {words.reason(report.reason)}"]
    for found in (_problem(p, words) for p in report.problems):
        place = words.text("cli.row", row=found["row"]) if found["row"] is not None else ""
        lines.append(f"  {place} {found['message']} {found['fix']}".rstrip())
    if more := sum(report.problem_counts.values()) - len(report.problems):
        lines.append(f"  {words.text('data.problems.more', count=more)}")
    if report.tokens is not None:
        counts = {k: v for k, v in report.tokens.items() if isinstance(v, int | float)}
        lines.append("tokens: " + ", ".join(f"{k} {fact_text(k, v)}" for k, v in counts.items()))
    return "\n".join(lines)


def _problem(problem: dict[str, Any], words: Words) -> dict[str, Any]:
    message, fix = words.problem(problem)
    return {**problem, "message": message, "fix": fix}
