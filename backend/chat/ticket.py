"""A request on its way: what the HTTP side and the model's thread share about it."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field

from backend.api.chat import Proof, Steps
from backend.chat.protocol import Order
from backend.chat.replies import Timings, TokenSaid
from studio.errors import StudioError


@dataclass(frozen=True)
class Accepted:
    """The prompts were read into tokens and the request stands in line or decodes. `proof`: what will answer;
    `step`: those of the run that the model has seen, where it trains meanwhile."""

    prompt_tokens: int
    proof: Proof
    step: int | None = None


@dataclass(frozen=True)
class Piece:
    """More text of one choice, with the log-probabilities of the tokens that start in it, if asked for."""

    index: int
    text: str
    said: tuple[TokenSaid, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A choice is complete. `adapter`: a hash of the weights that train, as they were at its first token."""

    index: int
    finish: str  # stop | length
    tokens: int
    timings: Timings
    steps: Steps = None
    adapter: str | None = None


@dataclass(frozen=True)
class Failed:
    """No (further) answer to the whole request, for this reason."""

    error: StudioError


Event = Accepted | Piece | Ended | Failed


@dataclass(eq=False)
class Ticket:
    """One order. The model's thread puts events, the HTTP thread takes them and may set `cancelled`."""

    order: Order
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)
    arrived: float = field(default_factory=time.monotonic)
