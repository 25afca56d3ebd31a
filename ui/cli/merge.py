"""`merge`: several adapters into one, or a run into its base."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from backend.api import Facade, MergeRequest
from ui.cli import documents
from ui.cli.output import Output
from ui.cli.parser import Sub, UsageError, set_pairs
from ui.fragments.format import bytes_text, percent_text

NAME = "merge"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Combine adapters of one base, or merge a run into its base.")
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="run:ID, merge:ID, an adapter's folder, mix:{...}"
    )
    parser.add_argument("--how", help="combine into one adapter: linear, cat, svd, ties, dare_linear, ...")
    parser.add_argument("--weights", metavar="W,W", help="one per model (default: equal shares)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of --how, repeatable"
    )
    parser.add_argument(
        "--exact", action="store_true", help="a run over 4 bit: merge into its rounded weights"
    )
    parser.add_argument(
        "--compress",
        type=float,
        metavar="SHARE",
        help="store the adapter in ternary numbers, this share of them",
    )
    parser.add_argument("--out", metavar="DIR", help="a new folder (default: within the home)")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    id = facade.merge(_request(options))
    made = documents.made_by(id, facade, output, _said)
    passed = made.facts.get("verified", {}).get("passed", True)
    return 0 if made.state == "done" and passed else 1


def _request(options: Namespace) -> MergeRequest:
    settings = dict(set_pairs(options.set))
    if options.how is None and (options.set or options.compress is not None):
        raise UsageError("--set and --compress belong to --how")
    if options.how is not None and options.exact:
        raise UsageError("--exact is for merging one run into its base, without --how")
    if options.compress is not None and not 0 < options.compress <= 1:
        raise UsageError("--compress is a share above 0 and up to 1")
    return MergeRequest(
        models=options.models,
        how=options.how,
        weights=_weights(options.weights),
        set=settings,
        exact=options.exact,
        compress=options.compress,
        out=options.out,
    )


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights takes numbers with commas between them, not '{text}'") from None


def _said(facts: Any, output: Output) -> list[str]:
    """What is known of the result, a sentence each."""
    words, said = output.words, []
    if facts.get("error") is not None:
        said.append(words.text("cli.merge_rank", rank=facts["rank"], error=percent_text(facts["error"])))
    if facts.get("compression_error") is not None:
        size = bytes_text(facts["size_bytes"])
        error = percent_text(facts["compression_error"])
        said.append(words.text("cli.merge_compressed", size=size, error=error))
    if verified := facts.get("verified"):
        key = "cli.merge_verified" if verified["passed"] else "cli.merge_not_verified"
        said.append(words.text(key, **verified))
    if ways := facts.get("ways"):
        said.append(words.text("cli.merge_ways", **ways))
    return said
