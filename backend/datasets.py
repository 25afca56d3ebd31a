"""Datasets as screen and command line see them: samples, checks, previews, what a person typed or picked.

What was read and rendered is kept as long as the files stay as they are, so that looking again costs nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from backend.api import CheckReport, PreviewRow, SampleInfo
from backend.home import Home, require_room
from studio.data.check import Prepared, check, prepare
from studio.data.preview import preview
from studio.data.prompts import read_prompts
from studio.data.read import Dataset, read_dataset
from studio.data.render import Renderer
from studio.data.samples import list_samples, resolve_dataset
from studio.errors import StudioError
from studio.identity import file_sha256

T = TypeVar("T")
# How many of a kind are kept; a dataset and what was prepared of it hold all of its rows.
_KEPT = {"samples": 1, "read": 3, "prepared": 3, "renderer": 4, "check": 24}


class Datasets:
    """Reads datasets for one home. Thread-safe."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._cache: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def samples(self) -> list[SampleInfo]:
        """The shipped samples with the sizes of their parts."""
        return self._kept(("samples",), _samples)

    def canonical(self, name: str) -> str:
        """The name that a plan keeps: a sample's own, else the absolute path. Raises `dataset_missing`."""
        path = resolve_dataset(name)
        return name if name in {sample.name for sample in list_samples()} else str(path.absolute())

    def read(self, path: Path) -> Dataset:
        """The dataset in a file or folder; raises what `studio.data.read` raises."""
        return self._kept(("read", *_state(path)), lambda: read_dataset(path))

    def read_named(self, name: str) -> Dataset:
        """As `read`, by a dataset's name; `StudioError("dataset_missing")` if nothing is called so."""
        return self.read(resolve_dataset(name))

    def renderer(self, folder: Path) -> Renderer:
        """The renderer of a model on disk."""
        converted = self._home.cache / "tokenizers"
        return self._kept(
            ("renderer", *_model_state(folder)), lambda: Renderer.from_folder(folder, converted=converted)
        )

    def check(self, name: str, model: Path | None, seq: int | None = None) -> CheckReport:
        """Format, rows, problems and, given a model's folder, token statistics."""
        path = resolve_dataset(name)

        def look() -> CheckReport:
            found = check(self.read(path), self.renderer(model) if model else None, seq)
            return CheckReport(
                dataset=name,
                format=found.format,
                reason=found.reason,
                rows=found.rows,
                heldout_rows=found.heldout_rows,
                problems=tuple(problem.as_dict() for problem in found.problems),
                problem_counts=found.problem_counts,
                tokens=asdict(found.tokens) if found.tokens else None,
            )

        of_model = _model_state(model) if model else ()
        return self._kept(("check", *_state(path), *of_model, seq), look)

    def preview(self, name: str, model: Path, rows: int, seq: int | None) -> list[PreviewRow]:
        """The first rows in pieces of text, each learned or not; raises what a row's template refuses."""
        dataset = self.read(resolve_dataset(name))
        out = []
        for row in preview(dataset.rows[:rows], self.renderer(model), seq):
            stream = next(iter(row.streams.values()))
            if stream.error is not None:
                raise stream.error
            pieces = tuple((piece.text, piece.learned) for piece in stream.pieces)
            out.append(PreviewRow(row.row, pieces, stream.tokens, stream.learned_tokens))
        return out

    def prepared(self, name: str, model: Path, seq: int | None, stream: str) -> Prepared:
        """The rows that a run would train on, split; raises what `studio.data.check.prepare` raises."""
        path = resolve_dataset(name)
        key = ("prepared", *_state(path), *_model_state(model), seq, stream)
        return self._kept(key, lambda: prepare(self.read(path), self.renderer(model), seq, stream))

    def save_rows(self, name: str, rows: Sequence[Mapping[str, str]]) -> str:
        """Keep typed rows ({prompt, answer}); empty ones are left out. Gives the file's path.

        Raises `StudioError`: `rows_none`, `row_incomplete` (row, column), `disk_full`.
        """
        lines = []
        for number, row in enumerate(rows, 1):
            prompt, answer = (str(row.get(key) or "").strip() for key in ("prompt", "answer"))
            if not prompt and not answer:
                continue
            if not prompt or not answer:
                raise StudioError("row_incomplete", row=number, column="answer" if prompt else "prompt")
            lines.append(json.dumps({"prompt": prompt, "completion": answer}, ensure_ascii=False) + "\n")
        if not lines:
            raise StudioError("rows_none")
        return self._keep(f"{slug(name) or 'rows'}.jsonl", "".join(lines).encode())

    def typed_rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a file that `save_rows` wrote, as they were typed."""
        streams = (next(iter(row.streams.values())) for row in self.read_named(name).rows)
        return [{"prompt": s.messages[0].text, "answer": s.messages[-1].text} for s in streams]

    def keep_messages(self, file: str, messages: Sequence[Mapping[str, str]], keep: bool) -> str:
        """Put a conversation as a row (`messages`) at the end of a file of such rows, unless it is there, or
        take it out; gives the file's path."""
        path = self._home.data / file
        line = json.dumps({"messages": list(messages)}, ensure_ascii=False)
        with self._lock:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
            lines = [other for other in lines if other != line] + [line] * keep
            unfinished = path.with_name(f".{os.getpid()}-{file}.part")
            unfinished.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            unfinished.replace(path)
        return str(path)

    def prompts(self, file: str) -> list[str]:
        """Those of a prompt set; raises what `studio.data.prompts.read_prompts` raises."""
        with self._by_name():
            return read_prompts(Path(file))

    def message_rows(self, file: str) -> tuple[str, int]:
        """The path of a file that `keep_messages` writes, and how many rows are in it."""
        path = self._home.data / file
        return str(path), path.read_text(encoding="utf-8").count("\n") if path.is_file() else 0

    def save_upload(self, file: str) -> str:
        """Copy a picked file into the home, once per content; gives the copy's path.

        Raises `StudioError`: `data_missing`, `data_unreadable`, `disk_full`.
        """
        source = Path(file)
        try:
            require_room(self._home.data, source.stat().st_size)
            content = source.read_bytes()
        except FileNotFoundError as error:
            raise StudioError("data_missing", path=source.name) from error
        except OSError as error:
            raise StudioError("data_unreadable", path=source.name, detail=error.strerror) from error
        suffix = "".join(source.suffixes[-1:]).lower()
        return self._keep(f"{slug(source.stem) or 'data'}{suffix}", content)

    def _keep(self, name: str, content: bytes) -> str:
        """Write under the first free name, or find the same content under one that is taken."""
        require_room(self._home.data, len(content))
        unfinished = self._home.data / f".{os.getpid()}-{threading.get_ident()}.part"
        unfinished.write_bytes(content)
        digest = file_sha256(unfinished)
        stem, dot, suffix = name.partition(".")
        for number in range(1, 1_000_000):
            target = self._home.data / (name if number == 1 else f"{stem}-{number}{dot}{suffix}")
            if not target.exists():
                unfinished.rename(target)
                return str(target)
            if target.stat().st_size == len(content) and file_sha256(target) == digest:
                unfinished.unlink()
                return str(target)
        raise AssertionError("a million files of one name")

    @contextlib.contextmanager
    def _by_name(self) -> Iterator[None]:
        """Errors tell a file that was brought here by its name: where the home keeps it, nobody chose."""
        try:
            yield
        except StudioError as error:
            path = Path(str(error.facts.get("path", "")))
            if path.parent != self._home.data:
                raise
            raise StudioError(error.code, **{**error.facts, "path": path.name}) from error

    def _kept(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                found: T = self._cache[key]
                return found
        with self._by_name():
            made = make()
        with self._lock:
            self._cache[key] = made
            kind = [other for other in self._cache if other[0] == key[0]]
            for oldest in kind[: -_KEPT[key[0]]]:
                del self._cache[oldest]
        return made


def slug(text: str) -> str:
    """Lower-case letters, digits and single hyphens, at most 40: fit for a folder and an address."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def dataset_slug(name: str) -> str:
    """The stem of a run's id: the sample's name, or that of the file."""
    path = Path(name)
    return slug(path.stem if path.suffix else path.name) or "run"


def _samples() -> list[SampleInfo]:
    out = []
    for sample in list_samples():
        dataset = read_dataset(sample.path)
        parts = (len(dataset.rows), len(dataset.heldout or ()))
        out.append(SampleInfo(sample.name, sample.title, sample.summary, sample.goal, *parts))
    return out


def _model_state(folder: Path) -> tuple[Any, ...]:
    """What changes when tokenizer, template or stop ids of a model on disk do."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in {".json", ".jinja", ".model"}]
    return tuple(part for file in files for part in _state(file))


def _state(path: Path) -> tuple[Any, ...]:
    """What changes when a file, or a file directly in a folder, does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files if file.exists()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
