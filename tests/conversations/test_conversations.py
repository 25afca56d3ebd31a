"""Conversations in a real store, answered by a stand-in that says back what it was told."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from backend.api.chat import BAD, CANCELLED, TIE, ChatDelta, ChatRequest, Proof, Sampling, Setup, Turn
from backend.conversations.service import Conversations
from backend.datasets import Datasets
from backend.home import open_home
from backend.store import migrations
from backend.store.database import open_store
from studio.errors import StudioError

SETUP = Setup(("starter", "run:a-1"), system="Be brief.", sampling=Sampling(seed=3))
PROOF = Proof("b" * 64, "a" * 64, "c" * 64)


class Talk:
    """Answers `<model> to <what was put to it, roles and all>`; keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.closed = 0

    def stream(self, request: ChatRequest, stopped: threading.Event) -> Generator[ChatDelta, None, None]:
        self.requests.append(request)
        try:
            for number, pane in enumerate(request.panes):
                if pane.messages[-1]["content"] == "fail":
                    raise StudioError("chat_engine_died", base="starter", log="x")
                if stopped.is_set():
                    return
                if pane.messages[-1]["content"] == "half" and number:
                    yield ChatDelta(number, "so f")
                    error = {"code": "chat_run_ended", "facts": {"run": "a-1"}}
                    yield ChatDelta(number, "", done=True, error=error)
                    continue
                for piece in (pane.model, f" #{len(pane.messages)}"):
                    yield ChatDelta(number, piece)
                end = {
                    "finish_reason": "stop",
                    "tokens": 2,
                    "tokens_per_second": 9.0,
                    "seconds_to_first": 0.1,
                }
                yield ChatDelta(number, "", done=True, **end, proof=PROOF)
        finally:
            self.closed += 1


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def conversations(home: Path, talk: Talk) -> Iterator[Conversations]:
    opened = open_home(home)
    store = open_store(opened.store, lambda _: False)
    yield Conversations(store, Datasets(opened), talk.stream)
    store.close()


def said(conversations: Conversations, prompt: str, after: Turn | None = None, setup: Setup = SETUP) -> Turn:
    """Ask and let it be answered to the end."""
    turn = conversations.ask(after and after.conversation, after and after.id, prompt, setup)
    list(conversations.answer(turn.id))
    return next(t for t in conversations.conversation(turn.conversation).turns if t.id == turn.id)


def test_what_was_said_is_kept_with_all_its_facts(conversations: Conversations) -> None:
    turn = said(conversations, "What is it?")
    kept = conversations.conversation(turn.conversation)
    assert kept.title == "What is it?"
    assert kept.turns == (turn,)
    assert (turn.prompt, turn.setup) == ("What is it?", SETUP)
    first, second = turn.answers
    assert (first.text, second.text) == ("starter #2", "run:a-1 #2")
    assert (first.done, first.finish_reason, first.tokens, first.proof) == (True, "stop", 2, PROOF)
    assert (first.tokens_per_second, first.seconds_to_first) == (9.0, 0.1)


def test_each_pane_goes_on_from_its_own_answers(conversations: Conversations, talk: Talk) -> None:
    said(conversations, "two", said(conversations, "one"))
    base, tuned = talk.requests[-1].panes
    assert base.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "starter #2"},
        {"role": "user", "content": "two"},
    ]
    assert tuned.messages[2]["content"] == "run:a-1 #2"
    assert talk.requests[-1].sampling == SETUP.sampling


def test_a_branch_knows_nothing_of_its_siblings(conversations: Conversations, talk: Talk) -> None:
    first = said(conversations, "one")
    said(conversations, "two", first)
    other = said(conversations, "other two", first)
    last = said(conversations, "three", other)
    assert [m["content"] for m in talk.requests[-1].panes[0].messages if m["role"] == "user"] == [
        "one",
        "other two",
        "three",
    ]
    assert [(t.prompt, t.parent) for t in conversations.conversation(last.conversation).turns] == [
        ("one", None),
        ("two", first.id),
        ("other two", first.id),
        ("three", other.id),
    ]


def test_a_pane_that_came_later_goes_on_from_the_first_ones_answers(
    conversations: Conversations, talk: Talk
) -> None:
    three = Setup(("starter", "run:a-1", "run:b-1"))
    said(conversations, "two", said(conversations, "one"), three)
    assert talk.requests[-1].panes[2].messages[1]["content"] == "starter #2"


def test_stopping_keeps_what_came_and_ends_the_engines_work(conversations: Conversations, talk: Talk) -> None:
    turn = conversations.ask(None, None, "one", SETUP)
    stream = conversations.answer(turn.id)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    first, second = conversations.conversation(turn.conversation).turns[0].answers
    assert (first.text, first.done, first.finish_reason) == ("starter", True, CANCELLED)
    assert (second.text, second.finish_reason) == ("", CANCELLED)
    assert talk.closed == 1


def test_an_answer_can_be_stopped_from_elsewhere_and_one_that_ended_can_not(
    conversations: Conversations,
) -> None:
    turn = conversations.ask(None, None, "Hi", SETUP)
    stream = conversations.answer(turn.id)
    for _ in range(3):  # all of the first answer
        next(stream)
    conversations.stop(turn.id)
    assert list(stream) == []
    first, second = conversations.conversation(turn.conversation).turns[0].answers
    assert (first.text, first.finish_reason) == ("starter #2", "stop")
    assert (second.text, second.finish_reason) == ("", CANCELLED)
    other = said(conversations, "Hi")
    conversations.stop(other.id)
    assert other.answers[1].finish_reason == "stop"


def test_why_there_is_no_answer_is_kept_and_the_next_question_leaves_it_out(
    conversations: Conversations, talk: Talk
) -> None:
    turn = conversations.ask(None, None, "fail", SETUP)
    with pytest.raises(StudioError, match="chat_engine_died"):
        list(conversations.answer(turn.id))
    kept = conversations.conversation(turn.conversation).turns[0]
    assert kept.error == {"code": "chat_engine_died", "facts": {"base": "starter", "log": "x"}}
    said(conversations, "again", turn)
    assert [m["content"] for m in talk.requests[-1].panes[0].messages] == ["Be brief.", "again"]


def test_the_error_of_a_pane_is_kept_with_its_answer_and_the_others_are_answers(
    conversations: Conversations,
) -> None:
    turn = said(conversations, "half")
    base, tuned = turn.answers
    assert turn.error is None
    assert (base.text, base.finish_reason, base.error) == ("starter #2", "stop", None)
    assert (tuned.text, tuned.done, tuned.finish_reason) == ("so f", True, None)
    assert tuned.error == {"code": "chat_run_ended", "facts": {"run": "a-1"}}
    table = conversations.export(turn.conversation, "jsonl").text
    assert [answer["error"] for answer in json.loads(table)["answers"]] == [None, tuned.error]
    assert "chat_run_ended" in conversations.export(turn.conversation, "markdown").text


def test_answers_kept_before_there_were_errors_of_a_pane_are_read(
    conversations: Conversations, home: Path
) -> None:
    turn = said(conversations, "What is it?")
    file = open_home(home).store
    with sqlite3.connect(file) as connection:
        older = "json_remove(facts, '$.error', '$.steps')"
        connection.execute(f"UPDATE message SET facts = {older} WHERE side = '0'")
    (again,) = conversations.conversation(turn.conversation).turns
    assert again == turn


def test_the_list_is_searched_in_titles_questions_and_answers(conversations: Conversations) -> None:
    older = said(conversations, "about parrots")
    said(conversations, "what do they eat? 100%", older)
    newer = said(conversations, "about ships", setup=Setup(("path:/models/tiny",)))
    assert [c.id for c in conversations.listed("", 9)] == [newer.conversation, older.conversation]
    for search, found in (("EAT", older), ("path:/models", newer), ("ships", newer), ("100%", older)):
        assert [c.id for c in conversations.listed(search, 9)] == [found.conversation]
    assert [c.id for c in conversations.listed("100% parrots", 9)] == [older.conversation]
    assert conversations.listed("ships parrots", 9) == []
    assert conversations.listed("0_", 9) == []
    info = conversations.listed("parrots", 9)[0]
    assert (info.title, info.turns, info.models, info.prompts) == ("about parrots", 2, SETUP.panes, 0)


def test_a_title_is_the_first_line_cut_between_words_and_can_be_changed(conversations: Conversations) -> None:
    turn = conversations.ask(None, None, "word " * 30 + "\nmore", SETUP)
    title = conversations.conversation(turn.conversation).title
    assert title == "word " * 10 + "word\u2026"
    conversations.rename(turn.conversation, "Parrots")
    conversations.rename(turn.conversation, "  ")
    assert conversations.conversation(turn.conversation).title == "Parrots"


def test_a_deleted_conversation_is_gone_with_its_votes_even_while_it_is_answered(
    conversations: Conversations,
) -> None:
    turn = said(conversations, "two", said(conversations, "one"))
    conversations.vote(turn.id, TIE)
    stream = conversations.answer(turn.id)
    next(stream)
    conversations.delete(turn.conversation)
    list(stream)
    assert conversations.listed("", 9) == []
    assert conversations.pair_votes() == []
    for gone in (
        lambda: conversations.conversation(turn.conversation),
        lambda: conversations.ask(turn.conversation, None, "more", SETUP),
        lambda: conversations.vote(turn.id, TIE),
    ):
        with pytest.raises(StudioError, match="conversation_gone"):
            gone()


def test_a_vote_can_be_changed_and_taken_back(conversations: Conversations) -> None:
    turn = said(conversations, "one")
    for choice in ("0", "1", BAD, None):
        conversations.vote(turn.id, choice)
        assert conversations.conversation(turn.conversation).turns[0].vote == choice
    with pytest.raises(StudioError) as refused:
        conversations.vote(turn.id, "2")
    assert refused.value.facts == {"choice": "2", "known": [TIE, BAD, "0", "1"]}


def test_votes_of_all_conversations_are_counted_by_pair(conversations: Conversations) -> None:
    for choice in ("1", "1", "0", TIE):
        conversations.vote(said(conversations, "one").id, choice)
    (pair,) = conversations.pair_votes()
    assert (pair.left, pair.right) == ("run:a-1", "starter")
    assert (pair.left_wins, pair.right_wins, pair.ties, pair.both_bad) == (2, 1, 1, 0)


def test_an_answer_becomes_a_training_row_once_and_can_be_taken_away(
    conversations: Conversations, home: Path
) -> None:
    turn = said(conversations, "two", said(conversations, "one"))
    for _ in range(2):
        dataset = Path(conversations.keep_answer(turn.id, 1, True))
    (row,) = [json.loads(line) for line in dataset.read_text().splitlines()]
    assert [(m["role"], m["content"]) for m in row["messages"]] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "run:a-1 #2"),
        ("user", "two"),
        ("assistant", "run:a-1 #4"),
    ]
    report = Datasets(open_home(home)).check(str(dataset), None)
    assert (report.format, report.rows, report.problems) == ("messages", 1, ())
    assert [a.kept for a in conversations.conversation(turn.conversation).turns[1].answers] == [False, True]
    conversations.keep_answer(turn.id, 1, False)
    assert dataset.read_text() == ""


def test_a_prompt_set_is_a_conversation_of_single_questions(
    conversations: Conversations, tmp_path: Path, talk: Talk
) -> None:
    file = tmp_path / "ask.txt"
    file.write_text("one\n\n two \n")
    begun = conversations.begin_set(str(file))
    assert (begun.title, begun.prompts, begun.turns) == ("ask.txt", ("one", "two"), ())
    for prompt in begun.prompts:
        turn = conversations.ask(begun.id, None, prompt, SETUP)
        list(conversations.answer(turn.id))
    assert all(len(pane.messages) == 2 for request in talk.requests for pane in request.panes)
    assert conversations.listed("", 9)[0].prompts == 2


def test_votes_of_a_store_from_before_are_kept_and_none_of_them_was_blind(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.migrate(connection, path, lambda _: False, migrations.MIGRATIONS[:1])
    connection.execute("INSERT INTO conversation VALUES (1, 't', '{}', 0, 0)")
    connection.execute("INSERT INTO message VALUES (1, 1, NULL, 'user', NULL, NULL, 'x', NULL, 0)")
    connection.execute("INSERT INTO vote (message, choice, at) VALUES (1, 'tie', 0)")
    connection.close()
    store = open_store(path, lambda _: False)
    assert [tuple(row) for row in store.rows("SELECT message, choice, blind FROM vote")] == [(1, "tie", 0)]
    store.close()
