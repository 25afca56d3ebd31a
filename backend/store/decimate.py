"""Fewer points for a chart, without losing a peak: a pure function."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[int, float | None]


def decimate(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` of `points` (in order), with each bucket's first minimum and first maximum kept.

    The first and the last point are always kept; so is a bucket's first None (NaN or infinity), because a
    diverged run must be seen. `limit` is at least 8.
    """
    if len(points) <= limit:
        return list(points)
    buckets = (limit - 2) // 3
    inner = len(points) - 2
    kept = {0, len(points) - 1}
    for b in range(buckets):
        start, end = 1 + b * inner // buckets, 1 + (b + 1) * inner // buckets
        kept.update(_extremes(points, start, end))
    return [points[i] for i in sorted(kept)]


def _extremes(points: Sequence[Point], start: int, end: int) -> list[int]:
    """Indices of a bucket's minimum, maximum and first None."""
    known = [(value, i) for i in range(start, end) if (value := points[i][1]) is not None]
    out = [next(i for i in range(start, end) if points[i][1] is None)] if len(known) < end - start else []
    if known:
        out += [min(known)[1], min(known, key=lambda v: (-v[0], v[1]))[1]]
    return out
