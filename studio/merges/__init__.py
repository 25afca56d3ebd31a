"""Merges: ways to make one adapter out of several of the same base. One file each, found by walking this
package.

A merge's file holds a frozen params dataclass and one `EXTENSION`, a `Merge`. Its torch part is named by a
string and called, per adapted matrix, as `rule(changes, weights, params, generator)`; see
`studio.merge.rules`. Listing imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from studio.params import param
from studio.registry import Registry


@dataclass(frozen=True)
class Merge:
    """A way to combine. `rank(params, ranks)`: the most directions that the result keeps of a matrix, given
    the ranks of what goes in; None leaves what the rule gives as it is. `averages`: it takes a mean by
    itself, so that a weight of 1 each is the usual."""

    id: str
    title: str
    summary: str
    params: type
    torch: str
    rank: Callable[[Any, Sequence[int]], int | None]
    averages: bool = False

    def usual_weights(self, count: int) -> tuple[float, ...]:
        """Weights for `count` adapters where none are given."""
        return (1.0 if self.averages else 1.0 / count,) * count


merges: Registry[Merge] = Registry("merges")


def chosen_rank(params: Any, ranks: Sequence[int]) -> int:
    """What the params ask for; without it the largest rank that goes in."""
    return int(params.rank or max(ranks))


def rank_param() -> Any:
    """The field `rank` of a rule whose result is no product of thin matrices by itself."""
    return param(
        None,
        "Rank of the result: what goes beyond it is cut off, and how much that is stands in the report. Left "
        "open, the largest rank that goes in.",
        low=1,
        high=8192,
    )


def density_param(default: float, help: str) -> Any:
    """The field `density`: a share of the numbers of a change."""
    return param(default, help, low=0.0001, high=1.0)


def sign_param() -> Any:
    """The field `sign`: how it is decided which sign a number gets."""
    return param(
        "total",
        "How the sign of each number is voted on: total weighs votes by their size, frequency counts them.",
        title="Sign election",
        choices=("total", "frequency"),
        expert=True,
    )


def seed_param() -> Any:
    """The field `seed` of a rule that draws at random."""
    return param(0, "Same seed, same result.", low=0, high=2**31 - 1)
