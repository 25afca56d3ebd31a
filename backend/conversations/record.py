"""Conversations, their turns and votes in the store.

A turn is a message of the role `user` (its `recipe` is the setup) and below it one of the role `assistant`
per pane. The answers' rows are there from the beginning, so that keeping a piece is an update, which does
nothing where the conversation was deleted meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.api.chat import Answer, Conversation, ConversationInfo, Proof, Sampling, Setup, Turn
from backend.store.database import Store
from backend.store.plain import to_json
from studio.errors import StudioError

TITLE_CHARACTERS = 60


def add_conversation(connection: sqlite3.Connection, title: str, prompts: Sequence[str] = ()) -> int:
    """A conversation without turns yet; gives its id."""
    now = time.time()
    done = connection.execute(
        "INSERT INTO conversation (title, body, created, updated) VALUES (?, ?, ?, ?)",
        (short_title(title), to_json({"prompts": list(prompts)}), now, now),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def add_turn(
    connection: sqlite3.Connection, conversation: int, parent: int | None, prompt: str, setup: Setup
) -> int:
    """A question with an empty answer per pane; gives its id. Raises `conversation_gone`."""
    now = time.time()
    touched = connection.execute("UPDATE conversation SET updated = ? WHERE id = ?", (now, conversation))
    if not touched.rowcount:
        raise StudioError("conversation_gone", id=conversation)
    insert = (
        "INSERT INTO message (conversation, parent, role, side, recipe, content, facts, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    question = (conversation, parent, "user", None, to_json(asdict(setup)), prompt, None, now)
    turn = connection.execute(insert, question).lastrowid
    assert turn is not None
    for pane, model in enumerate(setup.panes):
        recipe = to_json({"model": model})
        connection.execute(
            insert, (conversation, turn, "assistant", str(pane), recipe, "", _facts(Answer()), now)
        )
    return turn


def keep_answers(connection: sqlite3.Connection, turn: int, answers: Sequence[Answer]) -> None:
    """Bring the answers of a turn up to date."""
    connection.executemany(
        "UPDATE message SET content = ?, facts = ? WHERE parent = ? AND role = 'assistant' AND side = ?",
        [(answer.text, _facts(answer), turn, str(pane)) for pane, answer in enumerate(answers)],
    )


def keep_error(connection: sqlite3.Connection, turn: int, error: StudioError) -> None:
    """Note why a question was not answered, or not to the end."""
    facts = to_json({"error": error.as_dict()})
    connection.execute("UPDATE message SET facts = ? WHERE id = ?", (facts, turn))


def keep_vote(connection: sqlite3.Connection, turn: Turn, choice: str | None) -> None:
    """Replace the vote on a turn."""
    connection.execute("DELETE FROM vote WHERE message = ?", (turn.id,))
    if choice is not None:
        connection.execute(
            "INSERT INTO vote (message, choice, blind, at) VALUES (?, ?, ?, ?)",
            (turn.id, choice, turn.setup.blind, time.time()),
        )


def rename(connection: sqlite3.Connection, id: int, title: str) -> None:
    """Give a conversation another title; an empty one changes nothing."""
    if title.strip():
        connection.execute("UPDATE conversation SET title = ? WHERE id = ?", (short_title(title), id))


def delete(connection: sqlite3.Connection, id: int) -> None:
    """Delete a conversation with all that hangs on it."""
    own = "(SELECT id FROM message WHERE conversation = ?)"
    connection.execute(f"DELETE FROM vote WHERE message IN {own}", (id,))
    # One statement: the parents that messages name are gone with them when it ends.
    connection.execute("PRAGMA defer_foreign_keys = ON")
    connection.execute("DELETE FROM message WHERE conversation = ?", (id,))
    connection.execute("DELETE FROM conversation WHERE id = ?", (id,))


def conversation(store: Store, id: int) -> Conversation:
    """Raises StudioError `conversation_gone`."""
    rows = store.rows("SELECT title, body FROM conversation WHERE id = ?", id)
    if not rows:
        raise StudioError("conversation_gone", id=id)
    prompts = tuple(json.loads(rows[0]["body"])["prompts"])
    return Conversation(id, rows[0]["title"], turns(store, "conversation = ?", id), prompts)


def conversation_of(store: Store, turn: int) -> Conversation:
    """The conversation that a turn belongs to. Raises StudioError `conversation_gone`."""
    found = store.value("SELECT conversation FROM message WHERE id = ? AND role = 'user'", turn)
    if found is None:
        raise StudioError("conversation_gone", id=turn)
    return conversation(store, found)


def turns(store: Store, where: str = "1", *values: Any) -> tuple[Turn, ...]:
    """Turns with their answers and votes, oldest first. `where` chooses messages."""
    answers: dict[int, dict[int, Answer]] = defaultdict(dict)
    questions = []
    for row in store.rows(f"SELECT * FROM message WHERE {where} ORDER BY id", *values):
        if row["role"] == "user":
            questions.append(row)
        else:
            answers[row["parent"]][int(row["side"])] = _answer(row)
    votes = {row["message"]: row["choice"] for row in store.rows("SELECT message, choice FROM vote")}
    return tuple(_turn(row, answers[row["id"]], votes.get(row["id"])) for row in questions)


def listed(store: Store, search: str, limit: int) -> list[ConversationInfo]:
    """Conversations for the list; see `ChatFacade.conversations`."""
    words = [_anywhere(word) for word in search.split()]
    stands = (
        "(c.title LIKE ? ESCAPE '\\' OR EXISTS (SELECT 1 FROM message m "
        "WHERE m.conversation = c.id AND m.content LIKE ? ESCAPE '\\'))"
    )
    found = store.rows(
        "SELECT c.id, c.title, c.body, c.updated, "
        "(SELECT count(*) FROM message m WHERE m.conversation = c.id AND m.role = 'user') AS turns, "
        "(SELECT m.recipe FROM message m WHERE m.conversation = c.id AND m.role = 'user' "
        "ORDER BY m.id DESC LIMIT 1) AS setup "
        f"FROM conversation c WHERE {' AND '.join([stands] * len(words)) or 'TRUE'} "
        "ORDER BY c.updated DESC LIMIT ?",
        *(word for word in words for _ in range(2)),
        limit,
    )
    return [
        ConversationInfo(
            id=row["id"],
            title=row["title"],
            models=tuple(json.loads(row["setup"])["panes"]) if row["setup"] else (),
            turns=row["turns"],
            prompts=len(json.loads(row["body"])["prompts"]),
            updated=row["updated"],
        )
        for row in found
    ]


def _anywhere(word: str) -> str:
    """The pattern of `LIKE` for a text with this word in it."""
    return "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def short_title(text: str) -> str:
    """The first line, cut between words."""
    line = " ".join(text.split("\n")[0].split())
    if len(line) <= TITLE_CHARACTERS:
        return line
    return line[: TITLE_CHARACTERS - 1].rpartition(" ")[0] + "\u2026"


def _turn(row: sqlite3.Row, answers: Mapping[int, Answer], vote: str | None) -> Turn:
    facts = json.loads(row["facts"] or "{}")
    setup = json.loads(row["recipe"])
    return Turn(
        id=row["id"],
        conversation=row["conversation"],
        parent=row["parent"],
        prompt=row["content"],
        setup=Setup(
            tuple(setup["panes"]),
            setup["system"],
            Sampling(**setup["sampling"]),
            setup["blind"],
            tuple(setup["order"]),
        ),
        answers=tuple(answers[pane] for pane in range(len(setup["panes"]))),
        vote=vote,
        error=facts.get("error"),
    )


def _facts(answer: Answer) -> str:
    body = asdict(answer)
    del body["text"]
    return to_json(body)


def _answer(row: sqlite3.Row) -> Answer:
    facts = json.loads(row["facts"])
    proof, steps = facts.pop("proof"), facts.pop("steps", None)
    return Answer(
        text=row["content"],
        proof=Proof(**proof) if proof else None,
        steps=(steps[0], steps[1]) if steps else None,
        **facts,
    )
