"""`serve`: keep models on an OpenAI-compatible endpoint until Ctrl-C."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from collections.abc import Iterator

from backend.api import Endpoint, Facade, RunSummary, ServeRequest
from studio.errors import StudioError
from ui.cli import documents
from ui.cli.output import Output
from ui.cli.parser import Sub, UsageError

NAME = "serve"
KEY = "STUDIO_API_KEY"


def add(commands: Sub) -> None:
    usual = ServeRequest(())
    parser = commands.add(NAME, "Keep a model and runs of it on an OpenAI-compatible endpoint.")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="run:ID, starter, ...; all of one base")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 8000")
    parser.add_argument("--host", default=usual.host, help=f"anything but loopback needs {KEY} to be set")
    parser.add_argument("--device", metavar="D", help="cpu, cuda:0, mps; chosen by itself if left out")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer (default: the context)")
    parser.add_argument("--max-rows", type=int, default=usual.rows, metavar="N", help="answers at a time")
    parser.add_argument("--max-waiting", type=int, default=usual.waiting, metavar="N", help="more in line")
    parser.add_argument(
        "--max-body", type=int, default=usual.body_bytes, metavar="BYTES", help="largest request"
    )
    parser.add_argument("--background", action="store_true", help="leave it to `runs stop` to end it")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    limits = (options.max_rows, options.max_waiting, options.max_body, options.max_tokens)
    if any(limit is not None and limit < 1 for limit in limits):
        raise UsageError("every --max-... is at least 1")
    request = ServeRequest(
        models=options.models,
        host=options.host,
        port=options.port,
        device=options.device,
        rows=options.max_rows,
        waiting=options.max_waiting,
        body_bytes=options.max_body,
        max_tokens=options.max_tokens,
    )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _serve(facade.serve(request, os.environ.get(KEY) or None), options, facade, output)
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(job: str, options: Namespace, facade: Facade, output: Output) -> int:
    changes = facade.wait(job)
    try:
        endpoint = _until_it_answers(job, changes, facade, output)
        _tell(endpoint, output)
        if options.background:
            return 0
        last = _until_it_ends(job, changes, facade)
    except KeyboardInterrupt:
        output.note(output.words.text("cli.serve_stopping"))
        facade.stop(job)
        last = _until_it_ends(job, facade.wait(job), facade)
    if last.error is not None:
        raise StudioError(last.error["code"], **last.error["facts"])
    output.note(documents.line(last, output.words))
    return 0 if last.state == "stopped" else 1


def _until_it_answers(job: str, changes: Iterator[RunSummary], facade: Facade, output: Output) -> Endpoint:
    for now in changes:
        if (endpoint := facade.endpoint(job)) is not None:
            return endpoint
        output.progress(documents.progress(now, output.words))
    ended = facade.run(job).summary
    if ended.error is not None:
        raise StudioError(ended.error["code"], **ended.error["facts"])
    raise StudioError("serve_ended", run=job, state=ended.state)


def _until_it_ends(job: str, changes: Iterator[RunSummary], facade: Facade) -> RunSummary:
    for _ in changes:
        pass
    return facade.run(job).summary


def _tell(endpoint: Endpoint, output: Output) -> None:
    document = {
        "url": endpoint.url,
        "token": endpoint.token,
        "models": list(endpoint.models),
        "run": endpoint.run,
    }
    names = ", ".join(endpoint.models)
    text = output.words.text(
        "cli.serving", url=endpoint.url, token=endpoint.token, models=names, run=endpoint.run
    )
    output.result(document, text)
