"""`train`: start a run, and wait for it if asked to."""

from __future__ import annotations

from argparse import Namespace

from backend.api import Facade
from ui.cli import documents
from ui.cli.output import Output
from ui.cli.parser import Parser, Sub, UsageError, set_pairs

NAME = "train"
# Settings with an option of their own; `--set` takes these and all others.
SHORT = {
    "steps": "optimizer steps in all",
    "epochs": "how often to go through all rows",
    "batch": "rows per forward pass",
    "seq": "longest row in tokens",
    "lr": "learning rate",
    "seed": "same seed, same result",
    "device": "cpu, cuda:0, mps",
}


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Tune a model on a dataset.")
    parser.add_argument("model", metavar="MODEL", help="starter, a folder, a hub id")
    parser.add_argument("dataset", metavar="DATASET", help="a sample's name or a file")
    add_settings(parser)
    parser.add_argument("--wait", action="store_true", help="show progress until the run has ended")
    parser.set_defaults(run=run)


def add_settings(parser: Parser) -> None:
    """Method, objective and every setting of a plan."""
    parser.add_argument("--method", default="lora", help="see the command methods (default: lora)")
    parser.add_argument("--objective", default="sft", help="what to learn (default: sft)")
    for name, help in SHORT.items():
        parser.add_argument(f"--{name}", help=help)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting, repeatable"
    )


def run(options: Namespace, facade: Facade, output: Output) -> int:
    settings = read_settings(options)
    id = facade.start(options.model, options.dataset, options.method, settings, options.objective)
    if options.wait:
        return documents.follow(id, facade, output)
    summary = facade.run(id).summary
    output.result(documents.document(summary, output.words), documents.line(summary, output.words))
    output.note(output.words.text("cli.run_started", run=id))
    return 0


def read_settings(options: Namespace) -> dict[str, str]:
    """Texts by setting, unchecked: the plan reports all that is wrong together."""
    settings = {name: getattr(options, name) for name in SHORT if getattr(options, name) is not None}
    for key, value in set_pairs(options.set):
        if key in settings:
            raise UsageError(f"'{key}' is given twice")
        settings[key] = value
    return settings
