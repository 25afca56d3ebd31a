"""A guest that asks a model while it trains, without any protocol around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from studio.errors import StudioError
from studio.generate.decode import Decoder
from studio.generate.request import Request, Token
from studio.train.lending import Lending


@dataclass
class Asked:
    """One answer so far: its tokens, and the step of the weights that each came from."""

    side: str
    request: Request
    tokens: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


class Asker:
    """Asks every side the same, one request after the other, for ever; or `only` these sides."""

    def __init__(self, requests: Sequence[Request], only: Sequence[str] = ("tuned", "base")) -> None:
        self.requests, self.only = requests, only
        self.answers: list[Asked] = []
        self.refusals: list[StudioError] = []
        self.waiting = True
        self.left = False
        self._open: dict[tuple[Decoder, int], Asked] = {}

    def arrive(self, lending: Lending) -> None:
        self.lending = lending
        self._next = {side: 0 for side in lending.decoders if side in self.only}

    def leave(self) -> None:
        self.left = True

    def bring(self) -> None:
        for side, number in self._next.items():
            decoder = self.lending.decoders[side]
            if not decoder.busy:
                asked = Asked(side, self.requests[number % len(self.requests)])
                self._open[decoder, decoder.add(asked.request)] = asked
                self._next[side] += 1
                self.answers.append(asked)

    def take(self, decoder: Decoder, tokens: list[Token]) -> None:
        for token in tokens:
            asked = self._open[decoder, token.row]
            assert token.id is not None
            asked.tokens.append(token.id)
            asked.steps.append(self.lending.step())

    def refuse(self, error: StudioError) -> None:
        self.refusals.append(error)
        for decoder, row in self._open:
            decoder.cancel(row)
        self._open = {}
