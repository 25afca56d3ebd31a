"""`runs`: list them, look at one, follow, pause, stop, resume, delete."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict

from backend.api import Facade, RunSummary
from ui.cli import documents, removal
from ui.cli.output import Output
from ui.cli.parser import Sub
from ui.fragments import epoch

NAME = "runs"
KINDS = ("train", "probe", "merge", "export", "evaluate", "serve", "download", "all")
ACTIONS = {
    "list": "List the runs, newest first.",
    "show": "Show one run: its state, plan and reasons.",
    "watch": "Follow a run until it ends.",
    "pause": "Hold a run at its next step.",
    "stop": "End a run at its next step; what it learned is kept.",
    "resume": "Go on with a paused, stopped or interrupted run.",
    "delete": "Delete a run and all its files.",
}


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "List runs, look at one, control one.")
    parser.set_defaults(run=_list, kind="train")
    actions = Sub(parser, "action", required=False)
    for name, help in ACTIONS.items():
        action = actions.add(name, help)
        if name == "list":
            action.add_argument(
                "--kind", default="train", choices=KINDS, metavar="KIND", help=f"one of {', '.join(KINDS)}"
            )
            action.set_defaults(run=_list)
        else:
            action.add_argument("id", metavar="RUN", help="a run's id, as the list shows it")
            action.set_defaults(run=_RUNNERS[name])
            if name == "delete":
                removal.add(action)


def _list(options: Namespace, facade: Facade, output: Output) -> int:
    found = facade.runs(options.kind)
    text = "\n".join(documents.line(run, output.words) for run in found)
    output.result(
        [documents.document(run, output.words) for run in found], text or output.words.text("cli.no_runs")
    )
    return 0


def _show(options: Namespace, facade: Facade, output: Output) -> int:
    detail = facade.run(_id(options))
    words = output.words
    body = documents.document(detail.summary, words)
    rest = {k: v for k, v in asdict(detail).items() if k not in ("summary", "events", "reasons")}
    reasons = {address: words.reason(reason) for address, reason in detail.reasons.items()}
    lines = [documents.line(detail.summary, words), f"  {detail.folder}"]
    lines += [f"  {took}"] if (took := epoch.steps_line(words.text, detail.spent)) else []
    lines += [f"  {address}: {reason}" for address, reason in reasons.items()]
    output.result(body | rest | {"reasons": reasons}, "\n".join(lines))
    return 0


def _watch(options: Namespace, facade: Facade, output: Output) -> int:
    return documents.follow(_id(options), facade, output)


def _delete(options: Namespace, facade: Facade, output: Output) -> int:
    run = _id(options)
    removal.remove(lambda knowing: facade.delete(run, knowing), anyway=options.anyway)
    output.result({"run": run, "deleted": True}, output.words.text("cli.deleted", run=run))
    return 0


def _control(wish: Callable[[Facade, str], RunSummary]) -> Callable[[Namespace, Facade, Output], int]:
    def act(options: Namespace, facade: Facade, output: Output) -> int:
        summary = wish(facade, _id(options))
        output.result(documents.document(summary, output.words), documents.line(summary, output.words))
        return 0

    return act


def _id(options: Namespace) -> str:
    """`run:pirate-1` names the same run as `pirate-1`."""
    return str(options.id).removeprefix("run:")


_RUNNERS: dict[str, Callable[[Namespace, Facade, Output], int]] = {
    "show": _show,
    "watch": _watch,
    "delete": _delete,
    "pause": _control(lambda facade, run: facade.pause(run)),
    "stop": _control(lambda facade, run: facade.stop(run)),
    "resume": _control(lambda facade, run: facade.resume(run)),
}
