"""`models`: what is on the disk, downloads, folders of the person's own, deleting, a limit on the disk."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from backend.api import Facade, Holding
from ui import catalogue
from ui.cli import documents, removal
from ui.cli.output import Output
from ui.cli.parser import Sub
from ui.fragments.format import bytes_text

NAME = "models"
ACTIONS = {
    "list": "List the models on this disk: sizes, who made them, who depends on them.",
    "search": "Search the catalogue.",
    "download": "Fetch a model of the hub; one that was cut off goes on.",
    "register": "Keep a folder with a model on the list.",
    "delete": "Delete a model, a run, a checkpoint or a merge; a registered folder is only forgotten.",
    "quota": "Warn once the studio takes more than this.",
}
_GIB = 2**30


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "The models on this disk: list, search, download, register, delete.")
    parser.set_defaults(run=_list)
    actions = Sub(parser, "action", required=False)
    actions.add("list", ACTIONS["list"]).set_defaults(run=_list)
    search = actions.add("search", ACTIONS["search"])
    search.add_argument("words", nargs="*", metavar="WORD")
    search.set_defaults(run=_search)
    download = actions.add("download", ACTIONS["download"])
    download.add_argument("model", metavar="MODEL", help="hub:ORG/NAME[@REVISION]")
    download.add_argument("--wait", action="store_true", help="stay with it until it is here")
    download.set_defaults(run=_download)
    register = actions.add("register", ACTIONS["register"])
    register.add_argument("folder", metavar="FOLDER")
    register.set_defaults(run=_register)
    delete = actions.add("delete", ACTIONS["delete"])
    delete.add_argument("name", metavar="NAME", help="as the list shows it")
    removal.add(delete)
    delete.set_defaults(run=_delete)
    quota = actions.add("quota", ACTIONS["quota"])
    quota.add_argument("gigabytes", type=float, metavar="GB", help="0: no limit")
    quota.set_defaults(run=_quota)


def _list(_: Namespace, facade: Facade, output: Output) -> int:
    library, words = facade.library(), output.words
    disk = library.disk
    facts = {
        "taken_bytes": disk.home_bytes + disk.hub_bytes,
        "free_bytes": disk.free_bytes,
        "quota_bytes": disk.quota_bytes,
    }
    lines = [_line(item, output) for item in library.holdings]
    lines += [words.text("library.taken", **facts) + ", " + words.text("library.free", **facts)]
    if disk.warning:
        lines.append(words.text(f"library.{disk.warning}.line", **facts))
    output.result(asdict(library), "\n".join(lines))
    return 0


def _line(item: Holding, output: Output) -> str:
    parts = [f"{bytes_text(item.size_bytes):>8}", item.name]
    if item.state != "whole":
        parts.append(output.words.text(f"library.state.{item.state}"))
    if item.dependents:
        parts.append(output.words.text("cli.models_used_by", runs=[d.run for d in item.dependents]))
    return "  ".join(parts)


def _search(options: Namespace, facade: Facade, output: Output) -> int:
    query = " ".join(options.words)
    found = catalogue.search(facade.models(), query)
    here = output.words.text("model.on_disk")
    lines = [
        "  ".join([f"{bytes_text(model.size_bytes):>8}", model.name, *([here] if model.on_disk else [])])
        for model in found
    ]
    nothing = output.words.text("library.found.none", query=query)
    output.result([asdict(model) for model in found], "\n".join(lines) or nothing)
    return 0


def _download(options: Namespace, facade: Facade, output: Output) -> int:
    job = facade.download(options.model)
    if options.wait:
        return documents.follow(job, facade, output)
    document = documents.document(facade.run(job).summary, output.words)
    output.result(document, output.words.text("cli.run_started", run=job))
    return 0


def _register(options: Namespace, facade: Facade, output: Output) -> int:
    name = facade.register(options.folder)
    output.result({"name": name}, output.words.text("cli.models_registered", name=name))
    return 0


def _delete(options: Namespace, facade: Facade, output: Output) -> int:
    gone = removal.remove(lambda knowing: facade.remove(options.name, knowing), anyway=options.anyway)
    key = "cli.models_forgotten" if gone.removal == "forget" else "cli.models_deleted"
    output.result(asdict(gone), output.words.text(key, name=gone.name, freed_bytes=gone.frees_bytes))
    return 0


def _quota(options: Namespace, facade: Facade, output: Output) -> int:
    facade.set_quota(round(options.gigabytes * _GIB) or None)
    return _list(options, facade, output)
