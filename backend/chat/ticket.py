"""A request on its way: what the HTTP side and the model's thread share about it."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field

from backend.chat.protocol import Order, Timings
from backend.chat_api import Proof
from studio.errors import StudioError


@dataclass(frozen=True)
class Accepted:
    """The prompt was read into tokens; the request stands in line or decodes. `proof`: what will answer."""

    prompt_tokens: int
    proof: Proof


@dataclass(frozen=True)
class Piece:
    """More text of the answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The answer is complete."""

    finish: str  # stop | length
    tokens: int
    timings: Timings


@dataclass(frozen=True)
class Failed:
    """No (further) answer, for this reason."""

    error: StudioError


Event = Accepted | Piece | Ended | Failed


@dataclass(eq=False)
class Ticket:
    """One order. The model's thread puts events, the HTTP thread takes them and may set `cancelled`."""

    order: Order
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)
    arrived: float = field(default_factory=time.monotonic)
