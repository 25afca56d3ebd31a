"""What a dataset holds and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studio.data.problems import Problem
from studio.data.read import Dataset, read_dataset
from studio.data.render import Renderer
from studio.data.rows import Row
from studio.data.split import Split, split_heldout
from studio.errors import Reason, StudioError

MEASURED_CHARACTERS = 4_000_000
MEASURED_ROWS = 20_000
"""Larger data is measured on a random sample of its rows of about this size, a few seconds' work: tokenising
all of 50,000 long rows takes a quarter of a minute, and the worker does it anyway."""

SHOWN_PER_CODE = 50
"""Problems listed of one code; `problem_counts` has them all."""

_MOST_BUCKETS = 20


@dataclass(frozen=True)
class TokenStats:
    """Tokens of the training rows under a model's tokenizer and template.

    `total` and `learned` count tokens of all rows after cutting at the longest length; `min`, `median`, `p95`
    and `max` are lengths of rows before cutting. `histogram`: `{"upto", "rows"}`, rows whose length is at
    most `upto` and more than the bucket before. `measured` rows were looked at; where these are not all,
    counts are scaled up to all."""

    total: int
    learned: int
    min: int
    median: int
    p95: int
    max: int
    histogram: tuple[dict[str, int], ...]
    max_length: int | None
    truncated: int
    without_learned: int
    measured: int


@dataclass(frozen=True)
class CheckReport:
    """`rows` are the usable rows of the training part, before any are held out of it; `tokens` needs a
    model."""

    dataset: str
    format: str
    reason: Reason
    rows: int
    heldout_rows: int
    heldout_reason: Reason
    streams: tuple[str, ...]
    problems: tuple[Problem, ...]
    problem_counts: dict[str, int]
    tokens: TokenStats | None
    notes: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Codes and facts, no words."""
        return {
            "dataset": self.dataset,
            "format": self.format,
            "reason": asdict(self.reason),
            "rows": self.rows,
            "heldout_rows": self.heldout_rows,
            "heldout_reason": asdict(self.heldout_reason),
            "streams": list(self.streams),
            "problems": [problem.as_dict() for problem in self.problems],
            "problem_counts": self.problem_counts,
            "tokens": asdict(self.tokens) if self.tokens else None,
            "notes": [asdict(note) for note in self.notes],
        }


@dataclass(frozen=True)
class Prepared:
    """Rows that a run trains on and is measured on, with the report they come from."""

    split: Split
    report: CheckReport


def check(
    source: Path | Dataset, renderer: Renderer | None = None, max_length: int | None = None
) -> CheckReport:
    """Say what a dataset is, what is wrong with it and, given a renderer, how long its rows are.

    Raises StudioError only where the file can't be read at all (see studio.data.read).
    """
    return _check(_read(source), renderer, max_length)[1].report


def prepare(
    source: Path | Dataset, renderer: Renderer, max_length: int | None = None, stream: str = "text"
) -> Prepared:
    """The rows of a run: usable ones only, split into training and held-out.

    Raises what `read_dataset` raises, `data_no_usable_rows`, `stream_missing`, and `nothing_learned` where no
    token of any row would be learned."""
    dataset = _read(source)
    dataset.require(stream)
    usable, prepared = _check(dataset, renderer, max_length)
    if not usable:
        problems = prepared.report.problems
        refused = next((p for p in problems if p.code == "template_refused"), None)
        if refused is not None:
            raise StudioError(refused.code, detail=refused.facts["detail"])
        raise StudioError("nothing_learned", path=str(dataset.path), rows=len(dataset.rows))
    return prepared


def _read(source: Path | Dataset) -> Dataset:
    return source if isinstance(source, Dataset) else read_dataset(source)


def _check(dataset: Dataset, renderer: Renderer | None, max_length: int | None) -> tuple[list[Row], Prepared]:
    rows, own = dataset.rows, dataset.heldout
    problems = list(dataset.problems)
    tokens = None
    if renderer is not None and rows:
        tokens, rows, more = _measure(rows, renderer, max_length)
        problems += more
        if own:
            _, own, more = _measure(own, renderer, max_length)
            problems += more
        problems += _whole_file_problems(tokens, dataset, rows)
    split = split_heldout(rows, own)
    report = CheckReport(
        dataset=str(dataset.path),
        format=dataset.format,
        reason=dataset.reason,
        rows=len(rows),
        heldout_rows=len(split.heldout),
        heldout_reason=split.reason,
        streams=tuple(dataset.rows[0].streams) if dataset.rows else (),
        problems=_shown(problems),
        problem_counts=dict(Counter(problem.code for problem in problems)),
        tokens=tokens,
        notes=renderer.notes if renderer else (),
    )
    return rows, Prepared(split, report)


def _shown(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    told: Counter[str] = Counter()
    shown = []
    for problem in problems:
        told[problem.code] += 1
        if told[problem.code] <= SHOWN_PER_CODE:
            shown.append(problem)
    return tuple(shown)


def _whole_file_problems(tokens: TokenStats, dataset: Dataset, usable: Sequence[Row]) -> list[Problem]:
    problems: list[Problem] = []
    if not usable:
        problems.append(Problem("nothing_learned", facts={"rows": len(dataset.rows)}))
    if tokens.truncated:
        facts = {"count": tokens.truncated, "max_length": tokens.max_length, "longest": tokens.max}
        problems.append(Problem("rows_truncated", facts=facts))
    return problems


def _measure(
    rows: Sequence[Row], renderer: Renderer, max_length: int | None
) -> tuple[TokenStats, list[Row], list[Problem]]:
    """Token statistics, the rows that have something to learn as far as known, and what is wrong with the
    others."""
    sample = _sample(rows)
    lengths, learned, errors = _lengths([rows[place] for place in sample], renderer, max_length)
    if not sum(learned) and len(sample) < len(rows):
        sample = range(len(rows))
        lengths, learned, errors = _lengths(rows, renderer, max_length)
    bad: dict[int, Problem] = {}
    for place, count, error in zip(sample, learned, errors, strict=True):
        if error is not None:
            bad[place] = _problem(error.code, rows[place], **error.facts)
        elif not count:
            bad[place] = (
                _problem("row_nothing_learned", rows[place])
                if max_length is None
                else _problem("row_answer_cut", rows[place], max_length=max_length)
            )
    usable = [row for place, row in enumerate(rows) if place not in bad]
    without = sum(error is None for error in errors) - sum(count > 0 for count in learned)
    stats = _stats(lengths, sum(learned), without, max_length, len(sample), len(rows))
    return stats, usable, list(bad.values())


def _sample(rows: Sequence[Row]) -> Sequence[int]:
    """Places of the rows to measure, ascending; the same ones every time."""
    characters = sum(
        len(message.text) for row in rows for stream in row.streams.values() for message in stream.messages
    )
    count = min(MEASURED_ROWS, max(1, len(rows) * MEASURED_CHARACTERS // max(1, characters)))
    if count >= len(rows):
        return range(len(rows))
    return sorted(random.Random(0).sample(range(len(rows)), count))


def _lengths(
    rows: Sequence[Row], renderer: Renderer, max_length: int | None
) -> tuple[list[int], list[int], list[StudioError | None]]:
    """Length of each stream; and for each row its learned tokens after cutting, and the error that refused
    it."""
    places = [place for place, row in enumerate(rows) for _ in row.streams]
    lengths: list[int] = []
    learned = [0] * len(rows)
    errors: list[StudioError | None] = [None] * len(rows)
    encodings = renderer.encode_many([stream for row in rows for stream in row.streams.values()])
    for place, encoded in zip(places, encodings, strict=True):
        if isinstance(encoded, StudioError):
            errors[place] = encoded
        else:
            lengths.append(len(encoded.ids))
            learned[place] += sum(encoded.learned[:max_length])
    return lengths, learned, errors


def _problem(code: str, row: Row, **facts: Any) -> Problem:
    file, _, number = row.source.rpartition(":")
    return Problem(code, int(number), None, {"file": file, **facts}, skipped=True)


def _stats(
    lengths: Sequence[int], learned: int, without: int, max_length: int | None, measured: int, rows: int
) -> TokenStats:
    ordered = sorted(lengths) or [0]
    limit = ordered[-1] if max_length is None else max_length
    scale = rows / measured
    return TokenStats(
        total=round(scale * sum(min(length, limit) for length in lengths)),
        learned=round(scale * learned),
        min=ordered[0],
        median=_rank(ordered, 0.5),
        p95=_rank(ordered, 0.95),
        max=ordered[-1],
        histogram=_histogram(lengths, scale),
        max_length=max_length,
        truncated=round(scale * sum(length > limit for length in lengths)),
        without_learned=round(scale * without),
        measured=measured,
    )


def _rank(ordered: Sequence[int], share: float) -> int:
    """Nearest-rank percentile: the smallest length that at least `share` of the rows do not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _histogram(lengths: Sequence[int], scale: float) -> tuple[dict[str, int], ...]:
    """Buckets of equal width, a power of two from 8 on, at most 20 of them."""
    if not lengths:
        return ()
    width = 8
    while width * _MOST_BUCKETS < max(lengths):
        width *= 2
    counts = Counter(-(-length // width) for length in lengths)
    return tuple(
        {"upto": place * width, "rows": round(scale * counts[place])} for place in range(1, max(counts) + 1)
    )
