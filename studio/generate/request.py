"""What one row of a decode batch is asked for, and what comes back. Plain data, no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

from studio.errors import StudioError

BASE = "__base__"
"""The adapter name of rows that the untouched base answers (PEFT's own word for it)."""

_LOWEST_TEMPERATURE = 1e-5

Finish = Literal["stop", "length", "failed"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits.

    `temperature` 0 is greedy, and so is one so low that logits divided by it would leave their number
    format: there the likeliest token alone has any probability. `top_k` 0 and `top_p` 1 keep every token.
    `repetition_penalty` divides positive and multiplies negative logits of tokens that stand in prompt or
    answer (Keskar et al. 2019, arXiv 1909.05858). From the logit of a token that stands in the answer so far
    `presence_penalty` is taken once and `frequency_penalty` as often as it stands there, as OpenAI defines
    them. `seed` None draws a fresh one.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = 0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, without a draw."""
        return self.temperature < _LOWEST_TEMPERATURE

    @property
    def penalises(self) -> bool:
        """Whether what was said before changes the logits."""
        return self.repetition_penalty != 1.0 or bool(self.frequency_penalty or self.presence_penalty)

    def of_row(self, index: int) -> Sampling:
        """The sampling of answer `index` of several to one request: the first one keeps the seed, the others'
        follow from it and from nothing else."""
        if self.seed is None or index == 0:
            return self
        digest = hashlib.sha256(f"{self.seed}/{index}".encode()).digest()
        return replace(self, seed=int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True)
class Request:
    """One row: the prompt's token ids and how it is to be continued.

    `max_tokens` None: until the context is full. `adapter`: a name that the decoder's adapters know, or
    `BASE`. `logprobs`: how many of the likeliest tokens are told with every token's log-probability; None
    asks for none.
    """

    ids: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: frozenset[int] = frozenset()
    max_tokens: int | None = None
    adapter: str = BASE
    logprobs: int | None = None


@dataclass(frozen=True)
class Logprobs:
    """Natural logarithms of what the model itself gives: before penalties, temperature and filters."""

    own: float
    top: tuple[tuple[int, float], ...]  # (id, log-probability) of the likeliest tokens, likeliest first


@dataclass(frozen=True)
class Token:
    """One new token of one row.

    The row's last token carries `finish`. With `stop` the id is a stop id, which is no part of the text; with
    `failed` there is no id, and `error` says why the row ended.
    """

    row: int
    id: int | None
    finish: Finish | None = None
    error: StudioError | None = None
    logprobs: Logprobs | None = None
