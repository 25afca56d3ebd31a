"""Exports through the browser: one file, or all in a zip, read in pieces and never held in memory."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import Facade
from studio.errors import StudioError
from ui.words import Words

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.responses import Response

_BLOCK_BYTES = 1 << 20


def router(facade: Facade, words: Words) -> APIRouter:
    """`/studio/export/JOB` (its file, or a zip of its folder) and `/studio/export/JOB/FILE`."""
    from fastapi import APIRouter
    from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse

    routes = APIRouter()

    def given(run: str, file: str | None) -> Response:
        try:
            folder, files = _whole(facade, run)
            if file is not None and file not in files:
                raise StudioError("export_file_missing", run=run, file=file)
        except StudioError as error:
            return PlainTextResponse(" ".join(words.error(error)), 404)
        if file is None and len(files) > 1:
            name = archive_name(facade, run)
            named = {"content-disposition": f'attachment; filename="{name}.zip"', "cache-control": "no-store"}
            return StreamingResponse(zipped(folder, files, name), media_type="application/zip", headers=named)
        path = folder / (files[0] if file is None else file)
        return FileResponse(path, filename=path.name, headers={"cache-control": "no-store"})

    routes.add_api_route("/studio/export/{run}", lambda run: given(run, None), methods=["GET"])
    routes.add_api_route("/studio/export/{run}/{file:path}", given, methods=["GET"])
    return routes


def _whole(facade: Facade, run: str) -> tuple[Path, tuple[str, ...]]:
    """The folder of a finished export and its files. StudioError `run_missing`, `export_not_done` (run) or
    `export_file_missing` (run, file) where one is gone, or a link that leads out of the folder."""
    product = facade.product(run)
    if product.kind != "export" or product.path is None:
        raise StudioError("export_not_done", run=run)
    folder = Path(product.path).resolve()
    for file in product.files:
        path = (folder / file).resolve()
        if not (path.is_file() and path.is_relative_to(folder)):
            raise StudioError("export_file_missing", run=run, file=file)
    return folder, product.files


def archive_name(facade: Facade, run: str) -> str:
    """`pirate-1-gguf`: the model's own name and the format, in letters that any system allows in a name."""
    plan = facade.run(run).plan
    model = str(plan["asked"]).replace("\\", "/").rpartition("/")[2].rpartition(":")[2]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model)}-{plan['format']}"


class _Passing(io.RawIOBase):
    """What is written is kept until it is taken."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: object) -> int:
        before = len(self._kept)
        self._kept += memoryview(block)  # type: ignore[arg-type]
        return len(self._kept) - before

    def take(self) -> bytes:
        taken = bytes(self._kept)
        self._kept.clear()
        return taken


def zipped(folder: Path, files: Sequence[str], name: str) -> Iterator[bytes]:
    """A zip of these files, in a folder called `name`. Stored as they are: weights hardly get smaller."""
    passing = _Passing()
    with zipfile.ZipFile(passing, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo.from_file(folder / file, f"{name}/{file}", strict_timestamps=False)
            with (folder / file).open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    yield passing.take()
    yield passing.take()
