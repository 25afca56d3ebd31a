"""A file or folder of any usual format -> rows in the internal form, with everything that is odd about them.

What is wrong with single rows is collected as problems and costs those rows only; a StudioError ends the
reading: `data_missing`, `data_unreadable`, `data_binary`, `data_encoding_broken` (encoding),
`data_kind_refused`, `data_empty`, `data_no_columns`, `data_no_usable_rows`, `data_folder_unclear`,
`data_broken` (row, line, column, detail), `data_format_unknown` (columns)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

from studio.data.json_file import JsonFile
from studio.data.problems import Problem, RowError
from studio.data.records import Records
from studio.data.rows import Message, Row, Stream, content_hash
from studio.data.shapes import SHAPES, Content, Shape
from studio.data.table_file import ArrowFile, CsvFile, ParquetFile
from studio.data.text_file import TextFile
from studio.errors import Reason, StudioError

LARGE_CHARACTERS = 200_000
_REFUSED = ((b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gzip"), (b"\x80\x04", "pickle"), (b"%PDF", "pdf"))
_DATA_SUFFIXES = {
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".txt",
}
# Files beside the data in folders of ours and of the `datasets` library.
_DESCRIPTIONS = {
    "sample.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
}
_HELDOUT_STEMS = ("heldout", "held_out", "validation", "valid", "val", "test", "eval", "dev")


class FileFormat(Protocol):
    """Reads one family of files; the first in `_FILE_FORMATS` that claims a file reads it."""

    def claims(self, path: Path, head: bytes) -> bool: ...

    def read(self, path: Path) -> Records: ...


_FILE_FORMATS: tuple[FileFormat, ...] = (ParquetFile(), ArrowFile(), CsvFile(), JsonFile(), TextFile())


@dataclass(frozen=True)
class Dataset:
    """What a file or folder holds. `heldout` is None where the data brings no held-out part of its own."""

    path: Path
    format: str
    reason: Reason
    rows: list[Row]
    heldout: list[Row] | None
    problems: list[Problem]
    rows_read: int

    def require(self, stream: str = "text") -> None:
        """Raise StudioError unless there are rows with that stream: `data_no_usable_rows`,
        `stream_missing`."""
        if not self.rows:
            raise no_usable_rows(self.path, self.problems)
        found = list(self.rows[0].streams)
        if stream not in found:
            raise StudioError("stream_missing", needed=stream, found=", ".join(found), format=self.format)


def read_dataset(path: Path) -> Dataset:
    """Read a dataset: one file, or a folder with `train.*` and, if it has one, `heldout.*`."""
    if not os.path.exists(path):  # False, not an error, for what can't be a path
        raise StudioError("data_missing", path=str(path))
    train, heldout = _files_of(path) if path.is_dir() else ([path], [])
    records = _read_files(train)
    shape, reason = _detect(path, records)
    rows, problems = _convert(shape, train, records)
    own: list[Row] | None = None
    if heldout:
        own, more = _convert(shape, heldout, _read_files(heldout))
        problems += [*more, *_overlap(rows, own)]
    count = sum(len(part.rows) for part in records) + sum(
        problem.skipped for part in records for problem in part.problems
    )
    return Dataset(path, shape.id, reason, rows, own or None, problems, count)


def _files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Training and held-out files of a folder, shards (`train-00000-of-00002.parquet`) in order."""
    try:
        files = sorted(f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in _DATA_SUFFIXES)
    except OSError as error:
        raise StudioError("data_unreadable", path=str(folder), detail=error.strerror) from error
    by_stem = {f: f.stem.split("-")[0].split(".")[0].lower() for f in files}
    train = [f for f, stem in by_stem.items() if stem == "train"]
    heldout: list[Path] = []
    for name in _HELDOUT_STEMS:
        heldout = heldout or [f for f, stem in by_stem.items() if stem == name]
    if not train:
        train = [f for f in files if f not in heldout and f.name not in _DESCRIPTIONS]
        heldout = heldout if train else []
        same_kind = len({f.suffix for f in train}) == 1 and len({by_stem[f] for f in train}) == 1
        if not same_kind:
            raise StudioError(
                "data_folder_unclear", path=str(folder), files=", ".join(f.name for f in train[:8])
            )
    return train, heldout


def _read_files(paths: Sequence[Path]) -> list[Records]:
    return [read_records(path) for path in paths]


def read_records(path: Path) -> Records:
    """The records of one file, not yet understood. Raises StudioError `data_unreadable`, `data_binary`,
    `data_encoding_broken` (encoding), `data_kind_refused`, `data_empty`, `data_broken`."""
    if not path.is_file():  # a pipe or a device could be read for ever
        raise StudioError("data_unreadable", path=str(path), detail="not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
        kind = next((name for mark, name in _REFUSED if head.startswith(mark)), None)
        if kind is not None:
            raise StudioError("data_kind_refused", path=str(path), kind=kind)
        if not head:
            raise StudioError("data_empty", path=str(path))
        records = next(f for f in _FILE_FORMATS if f.claims(path, head)).read(path)
    except OSError as error:
        raise StudioError("data_unreadable", path=str(path), detail=error.strerror or str(error)) from error
    if not records.rows and not records.problems:
        raise StudioError("data_empty", path=str(path))
    return records


def _lowered(value: dict[Any, Any]) -> dict[str, Any]:
    return {str(name).strip().lower(): cell for name, cell in value.items()}


def _detect(path: Path, parts: Sequence[Records]) -> tuple[Shape, Reason]:
    """The first shape that claims the columns which at least half of the first 1,000 rows have."""
    looked_at = [_lowered(v) for part in parts for _, v in part.rows[:1000] if isinstance(v, dict)]
    if not looked_at:
        _raise_no_records(path, parts[0])
    present = Counter(name for record in looked_at for name in record)
    samples: dict[str, Any] = {}
    for record in looked_at:
        for name, cell in record.items():
            if samples.get(name) is None or samples[name] == []:
                samples[name] = cell
    columns = {name: samples[name] for name, count in present.items() if 2 * count >= len(looked_at)}
    for shape in SHAPES:
        reason = shape.claims(columns)
        if reason is not None:
            return shape, reason
    raise StudioError("data_format_unknown", path=str(path), columns=", ".join(columns) or ", ".join(present))


def _raise_no_records(path: Path, records: Records) -> NoReturn:
    """No row is an object with columns: say what the first one is, or what broke it."""
    if records.rows:
        row, value = records.rows[0]
        raise StudioError("data_no_columns", path=str(path), row=row, found=type(value).__name__)
    raise no_usable_rows(path, records.problems)


def no_usable_rows(path: Path, problems: Sequence[Problem]) -> StudioError:
    """The error for data of which no row can be used, with the first reason."""
    first = next((problem for problem in problems if problem.skipped), None)
    row, column = (first.row, first.column) if first else (None, None)
    code = first.code if first else None
    return StudioError("data_no_usable_rows", path=str(path), row=row, column=column, problem=code)


def _convert(
    shape: Shape, files: Sequence[Path], parts: Sequence[Records]
) -> tuple[list[Row], list[Problem]]:
    rows: list[Row] = []
    problems: list[Problem] = []
    seen: dict[str, tuple[int, int]] = {}  # content hash -> (row it first stood in, times)
    for file, records in zip(files, parts, strict=True):
        problems += records.problems
        for number, value in records.rows:
            try:
                if not isinstance(value, dict):
                    raise RowError("row_not_object", None, found=type(value).__name__)
                content = shape.convert(_lowered(value))
            except RowError as error:
                problems.append(error.at(number, file.name))
                continue
            row, odd = _finish(content, number, file, seen)
            rows.append(row)
            problems += odd
    problems = _once(problems)
    problems.sort(key=lambda p: (str(p.facts.get("file", "")), p.row or 0))
    return rows, problems


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """What is true of whole files rather than of rows is said once, with the number of rows."""
    whole = [problem for problem in problems if problem.code == "tools_as_text"]
    rest = [problem for problem in problems if problem.code != "tools_as_text"]
    said = [replace(whole[0], row=None, facts={**whole[0].facts, "count": len(whole)})] if whole else []
    return said + rest


def _finish(
    content: Content, number: int, file: Path, seen: dict[str, tuple[int, int]]
) -> tuple[Row, list[Problem]]:
    """Give a row its id (from its content, so that it survives reordering) and note what is odd about it."""
    codes: list[tuple[str, str | None, dict[str, Any]]] = [
        (code, column, {}) for code, column in content.notes
    ]
    row = Row("", content.streams, content.labels, f"{file.name}:{number}")
    try:
        digest = content_hash(row)
    except UnicodeEncodeError:  # half of a surrogate pair: valid in JSON's escapes, but no character
        row = replace(row, streams={name: _repaired(stream) for name, stream in row.streams.items()})
        digest = content_hash(row)
        codes.append(("character_broken", None, {}))
    first, times = seen.get(digest, (number, 0))
    seen[digest] = (first, times + 1)
    if times:
        codes.append(("row_duplicate", None, {"first": first}))
    characters = sum(len(m.text) for stream in row.streams.values() for m in stream.messages)
    if characters > LARGE_CHARACTERS:
        codes.append(("value_large", None, {"characters": characters}))
    row = replace(row, id=digest[:16] + (f"-{times + 1}" if times else ""))
    return row, [Problem(code, number, column, {"file": file.name, **facts}) for code, column, facts in codes]


def _repaired(stream: Stream) -> Stream:
    messages = tuple(
        Message.of(m.role, m.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        for m in stream.messages
    )
    return replace(stream, messages=messages)


def _overlap(rows: Sequence[Row], heldout: Sequence[Row]) -> list[Problem]:
    """Held-out rows that stand in the training part too measure memory, not learning."""
    known = {row.id.split("-")[0] for row in rows}
    shared = [row for row in heldout if row.id.split("-")[0] in known]
    facts = {"count": len(shared), "first": shared[0].source} if shared else {}
    return [Problem("heldout_overlap", None, None, facts)] if shared else []
