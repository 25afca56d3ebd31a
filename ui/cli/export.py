"""`export`: a model in a format that other programs read."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from backend.api import ExportRequest, Facade
from ui.cli import documents
from ui.cli.output import Output
from ui.cli.parser import Sub, UsageError, set_pairs
from ui.fragments.format import bytes_text

NAME = "export"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Write a model as an adapter, as whole weights, or as GGUF.")
    parser.add_argument("model", metavar="MODEL", help="run:ID, merge:ID, an adapter's folder, or any model")
    parser.add_argument(
        "--format", default="safetensors", help="adapter, compact, safetensors (default), gguf"
    )
    parser.add_argument("--type", help="number format of a GGUF file: f16, bf16, q8_0")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the format, repeatable"
    )
    parser.add_argument("--out", metavar="DIR", help="a new folder (default: within the home)")
    parser.add_argument(
        "--upload", metavar="ORG/NAME", help="then upload it to the hub, with the login of 'hf auth login'"
    )
    parser.add_argument("--public", action="store_true", help="let everyone see what is uploaded")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    id = facade.export(_request(options))
    made = documents.made_by(id, facade, output, _said)
    passed = made.facts.get("parity", {}).get("passed") and "upload_error" not in made.facts
    return 0 if made.state == "done" and passed else 1


def _request(options: Namespace) -> ExportRequest:
    settings = dict(set_pairs(options.set))
    if options.public and options.upload is None:
        raise UsageError("--public belongs to --upload")
    return ExportRequest(
        model=options.model,
        format=options.format,
        set=settings if options.type is None else settings | {"type": options.type},
        out=options.out,
        upload=options.upload,
        public=options.public,
    )


def _said(facts: Mapping[str, Any], output: Output) -> list[str]:
    """What is known of the result, a sentence each."""
    said = []
    if parity := facts.get("parity"):
        key = "cli.export_parity" if parity["passed"] else "cli.export_no_parity"
        said.append(output.words.text(key, **parity))
        said += [output.words.text("cli.export_greeting")] if facts.get("rows_of") == [] else []
        said.append(output.words.text("cli.export_size", size=bytes_text(facts["size_bytes"])))
    if facts.get("uploaded"):
        said.append(output.words.text("cli.export_uploaded", page=facts["uploaded"]))
    if error := facts.get("upload_error"):
        said += [output.words.text("cli.export_not_uploaded"), *documents.error_words(error, output.words)]
    return said
