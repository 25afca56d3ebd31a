"""What the facade does with conversations: asks, keeps what is answered as it comes, votes, exports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from backend.api.chat import (
    BAD,
    TIE,
    Answer,
    ChatDelta,
    ChatRequest,
    Conversation,
    ConversationInfo,
    Export,
    PairVotes,
    Pane,
    Setup,
    Turn,
)
from backend.conversations import record
from backend.conversations.dialogue import messages_of, path_to, training_messages
from backend.conversations.export import export
from backend.conversations.votes import pair_votes
from backend.datasets import Datasets, slug
from backend.store.database import Store
from studio.errors import StudioError

_KEEP_SECONDS = 1.0  # what a killed screen may lose of an answer
CHAT_ROWS = "chat-rows.jsonl"


class Conversations:
    """Conversations of one home.

    Args:
        store: Where they are kept.
        datasets: Where answers go that are to be learned from.
        chat: Streams the answers to a request until the event is set.
    """

    def __init__(
        self,
        store: Store,
        datasets: Datasets,
        chat: Callable[[ChatRequest, threading.Event], Generator[ChatDelta, None, None]],
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._chat = chat
        self._stops: dict[int, threading.Event] = {}  # of the questions that are not answered yet

    def ask(self, conversation: int | None, parent: int | None, prompt: str, setup: Setup) -> Turn:
        """See `ChatFacade.ask`."""
        with self._store.asked() as connection:
            if conversation is None:
                conversation = record.add_conversation(connection, prompt)
            turn = record.add_turn(connection, conversation, parent, prompt, setup)
        self._stops[turn] = threading.Event()
        return Turn(turn, conversation, parent, prompt, setup, (Answer(),) * len(setup.panes))

    def answer(self, turn: int) -> Iterator[ChatDelta]:
        """See `ChatFacade.answer`."""
        path = path_to(record.conversation_of(self._store, turn).turns, turn)
        setup = path[-1].setup
        panes = tuple(Pane(model, messages_of(path, pane)) for pane, model in enumerate(setup.panes))
        answers = list(path[-1].answers)
        stopped = self._stops.setdefault(turn, threading.Event())
        kept = time.monotonic()
        try:
            with closing(self._chat(ChatRequest(panes, setup.sampling), stopped)) as deltas:
                for delta in deltas:
                    answers[delta.pane] = answers[delta.pane].plus(delta)
                    if time.monotonic() - kept > _KEEP_SECONDS:
                        self._keep(turn, answers)
                        kept = time.monotonic()
                    yield delta
        except StudioError as error:
            with self._store.asked() as connection:
                record.keep_error(connection, turn, error)
            raise
        finally:
            self._stops.pop(turn, None)
            self._keep(turn, [answer.ended() for answer in answers])

    def stop(self, turn: int) -> None:
        """See `ChatFacade.stop_answer`."""
        if stopped := self._stops.get(turn):
            stopped.set()

    def begin_set(self, file: str) -> Conversation:
        """See `ChatFacade.begin_set`."""
        prompts = self._datasets.prompts(file)
        with self._store.asked() as connection:
            id = record.add_conversation(connection, Path(file).name, prompts)
        return self.conversation(id)

    def listed(self, search: str, limit: int) -> list[ConversationInfo]:
        """See `ChatFacade.conversations`."""
        return record.listed(self._store, search, limit)

    def conversation(self, id: int) -> Conversation:
        """See `ChatFacade.conversation`."""
        return record.conversation(self._store, id)

    def rename(self, id: int, title: str) -> None:
        """See `ChatFacade.rename_conversation`."""
        with self._store.asked() as connection:
            record.rename(connection, id, title)

    def delete(self, id: int) -> None:
        """See `ChatFacade.delete_conversation`."""
        with self._store.asked() as connection:
            record.delete(connection, id)

    def vote(self, turn: int, choice: str | None) -> None:
        """See `ChatFacade.vote`."""
        found = self._turn(turn)
        known = [TIE, BAD, *(str(pane) for pane in range(len(found.answers)))]
        if choice is not None and choice not in known:
            raise StudioError("vote_unknown", choice=choice, known=known)
        with self._store.asked() as connection:
            record.keep_vote(connection, found, choice)

    def pair_votes(self) -> list[PairVotes]:
        """See `ChatFacade.pair_votes`."""
        voted = "(SELECT message FROM vote)"
        return pair_votes(
            record.turns(self._store, f"id IN {voted} OR parent IN {voted} AND role = 'assistant'")
        )

    def keep_answer(self, turn: int, pane: int, keep: bool) -> str:
        """See `ChatFacade.keep_answer`."""
        path = path_to(record.conversation_of(self._store, turn).turns, turn)
        dataset = self._datasets.keep_messages(CHAT_ROWS, training_messages(path, pane), keep)
        answers = list(path[-1].answers)
        answers[pane] = replace(answers[pane], kept=keep)
        self._keep(turn, answers)
        return dataset

    def chat_rows(self) -> tuple[str, int]:
        """See `ChatFacade.chat_rows`."""
        return self._datasets.message_rows(CHAT_ROWS)

    def export(self, id: int, form: str) -> Export:
        """See `ChatFacade.export_conversation`."""
        found = self.conversation(id)
        return export(found, form, slug(found.title) or f"conversation-{id}")

    def _keep(self, turn: int, answers: list[Answer]) -> None:
        with self._store.asked() as connection:
            record.keep_answers(connection, turn, answers)

    def _turn(self, turn: int) -> Turn:
        return path_to(record.conversation_of(self._store, turn).turns, turn)[-1]
