"""The part of the facade that keeps conversations: what `backend.api.chat` promises of them, delegated."""

from __future__ import annotations

from collections.abc import Iterator

from backend.api.chat import (
    ChatDelta,
    Conversation,
    ConversationInfo,
    Export,
    PairVotes,
    Setup,
    Turn,
)
from backend.conversations.service import Conversations


class KeptConversations:
    """Needs the service as `_conversations`."""

    _conversations: Conversations

    def ask(self, conversation: int | None, parent: int | None, prompt: str, setup: Setup) -> Turn:
        return self._conversations.ask(conversation, parent, prompt, setup)

    def answer(self, turn: int) -> Iterator[ChatDelta]:
        return self._conversations.answer(turn)

    def stop_answer(self, turn: int) -> None:
        self._conversations.stop(turn)

    def begin_set(self, file: str) -> Conversation:
        return self._conversations.begin_set(file)

    def conversations(self, search: str = "", limit: int = 100) -> list[ConversationInfo]:
        return self._conversations.listed(search, limit)

    def conversation(self, id: int) -> Conversation:
        return self._conversations.conversation(id)

    def rename_conversation(self, id: int, title: str) -> None:
        self._conversations.rename(id, title)

    def delete_conversation(self, id: int) -> None:
        self._conversations.delete(id)

    def vote(self, turn: int, choice: str | None) -> None:
        self._conversations.vote(turn, choice)

    def pair_votes(self) -> list[PairVotes]:
        return self._conversations.pair_votes()

    def keep_answer(self, turn: int, pane: int, keep: bool = True) -> str:
        return self._conversations.keep_answer(turn, pane, keep)

    def chat_rows(self) -> tuple[str, int]:
        return self._conversations.chat_rows()

    def export_conversation(self, id: int, form: str) -> Export:
        return self._conversations.export(id, form)
