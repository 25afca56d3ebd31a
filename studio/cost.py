"""What training steps took in time and energy, and what a pass over other rows would take then. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What some training steps took; evaluations and checkpoints between them are not in it.

    `tokens` are those read, without padding. `joules` is what the whole device took meanwhile, with all other
    programs on it; None where the machine does not tell.
    """

    steps: int
    tokens: int
    seconds: float
    joules: float | None

    def __add__(self, other: Spent) -> Spent:
        both = self.joules is not None and other.joules is not None
        return Spent(
            self.steps + other.steps,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            (self.joules or 0.0) + (other.joules or 0.0) if both else None,
        )


@dataclass(frozen=True)
class Cost:
    """Of a pass over rows: seconds and joules as if they went by tokens, and where the seconds may lie."""

    seconds: float
    range_seconds: tuple[float, float]
    joules: float | None


def cost(spent: Spent, steps: int, tokens: int) -> Cost:
    """What `steps` steps over `tokens` tokens take, from what others took.

    The seconds of a step lie between two limits: the device is busy all the time, so that they go by tokens,
    or it waits for each operation to be started, so that they go by steps. The range is between the two, and
    one point where steps have as many tokens as those measured. Longer rows than those measured may go
    beyond it, by attention's share.
    """
    by_tokens, by_steps = tokens / spent.tokens, steps / spent.steps
    seconds = spent.seconds * by_tokens
    ends = sorted((seconds, spent.seconds * by_steps))
    joules = None if spent.joules is None else spent.joules * by_tokens
    return Cost(seconds, (ends[0], ends[1]), joules)
