"""Votes by pair of models: who was preferred how often, and how sure that is. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from math import sqrt

from backend.api.chat import BAD, TIE, PairVotes, Turn

Z_95 = 1.959963984540054  # of the normal distribution, two-sided
_Player = tuple[str, str]  # name, hash of what answered under it


def wilson(wins: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """The interval of a share (Wilson 1927, doi 10.1080/01621459.1927.10502953): unlike the usual one it
    stays within 0 and 1 and says something for few votes."""
    share = wins / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def pair_votes(turns: Iterable[Turn]) -> list[PairVotes]:
    """The votes on these turns, the pair with most of them first.

    Of more than two panes the best one beat each of the others, and nothing is known among those. One that
    could not answer was beaten by nobody. Models are told apart by what answered, so a run that went on
    training is another one.
    """
    counted: defaultdict[tuple[_Player, _Player], Counter[str]] = defaultdict(Counter)
    for turn in turns:
        if turn.vote is None:
            continue
        players = [_player(turn, pane) for pane in range(len(turn.answers))]
        for a, b in combinations((pane for pane in range(len(players)) if not turn.answers[pane].error), 2):
            outcome = _outcome(turn.vote, a, b)
            if outcome is None or players[a] == players[b]:
                continue
            if players[a] > players[b]:
                a, b = b, a
                outcome = {"left": "right", "right": "left"}.get(outcome, outcome)
            counted[players[a], players[b]][outcome] += 1
    pairs = [_pair(left, right, votes) for (left, right), votes in counted.items()]
    return sorted(pairs, key=lambda p: -(p.left_wins + p.right_wins + p.ties + p.both_bad))


def _outcome(vote: str, a: int, b: int) -> str | None:
    if vote in (TIE, BAD):
        return vote
    return {a: "left", b: "right"}.get(int(vote))


def _player(turn: Turn, pane: int) -> _Player:
    proof = turn.answers[pane].proof
    return turn.setup.panes[pane], (proof.adapter or proof.base) if proof else ""


def _pair(left: _Player, right: _Player, votes: Counter[str]) -> PairVotes:
    decided = votes["left"] + votes["right"]
    share = votes["left"] / decided if decided else None
    low, high = wilson(votes["left"], decided) if decided else (None, None)
    return PairVotes(
        left=left[0],
        right=right[0],
        left_hash=left[1],
        right_hash=right[1],
        left_wins=votes["left"],
        right_wins=votes["right"],
        ties=votes[TIE],
        both_bad=votes[BAD],
        share=share,
        low=low,
        high=high,
    )
