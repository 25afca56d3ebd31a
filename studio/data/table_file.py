"""CSV, TSV, Parquet and Arrow -> records, one per line of the table."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from studio.data.encoding import read_text
from studio.data.problems import Problem
from studio.data.records import Records
from studio.errors import StudioError

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses cells over 128 KiB


class CsvFile:
    """`.csv` and `.tsv` with a header line; the separator is the one that splits the header into most
    columns."""

    suffixes = (".csv", ".tsv")

    def claims(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - one protocol for all readers
        return path.suffix.lower() in self.suffixes

    def read(self, path: Path) -> Records:
        text, problems = read_text(path)
        separator = "\t" if path.suffix.lower() == ".tsv" else _separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows: list[tuple[int, Any]] = []
        header: list[str] | None = None
        number = 0
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return Records(rows, problems)
            except csv.Error as error:
                number += 1
                facts = {"file": path.name, "line": line, "detail": str(error)}
                problems.append(Problem("row_not_csv", number, None, facts, skipped=True))
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                continue
            number += 1
            if len(cells) != len(header):
                facts = {"file": path.name, "line": line, "found": len(cells), "expected": len(header)}
                problems.append(Problem("row_wrong_width", number, None, facts, skipped=True))
            else:
                rows.append((number, dict(zip(header, cells, strict=True))))


def _separator(text: str) -> str:
    header = next(line for line in text.split("\n") if line.strip())
    counts = Counter({mark: header.count(mark) for mark in ",;\t|"})
    return counts.most_common(1)[0][0]


class ParquetFile:
    """Parquet, known by its first four bytes or its name."""

    def claims(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"PAR1") or path.suffix.lower() in (".parquet", ".pq")

    def read(self, path: Path) -> Records:
        import pyarrow
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise StudioError("data_unreadable", path=str(path), detail=str(error)) from error
        return Records(list(enumerate(table.to_pylist(), 1)))


class ArrowFile:
    """Arrow IPC, as a file or as the stream that the `datasets` library writes."""

    def claims(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"ARROW1") or path.suffix.lower() in (".arrow", ".feather")

    def read(self, path: Path) -> Records:
        import pyarrow
        import pyarrow.ipc

        try:
            with pyarrow.memory_map(str(path)) as source:
                is_file = source.read(6) == b"ARROW1"
                source.seek(0)
                opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
                table = opened.read_all()
        except (pyarrow.ArrowException, OSError) as error:
            raise StudioError("data_unreadable", path=str(path), detail=str(error)) from error
        return Records(list(enumerate(table.to_pylist(), 1)))
