"""The facade over a real engine: conversations of several turns, as answered and as kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.api.chat import CANCELLED, Answer, Sampling, Setup, Turn
from backend.facade import StudioFacade
from studio.data.rows import Message
from tests.chat.homes import ChatHome, write_home

SAMPLING = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ChatHome:
    return write_home(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def facade(home: ChatHome) -> Iterator[StudioFacade]:
    opened = StudioFacade(home.root)
    yield opened
    opened.close()


def answered(facade: StudioFacade, prompt: str, after: Turn | None, setup: Setup) -> Turn:
    turn = facade.ask(after and after.conversation, after and after.id, prompt, setup)
    for _ in facade.answer(turn.id):
        pass
    return facade.conversation(turn.conversation).turns[-1]


@pytest.mark.worker
def test_each_pane_goes_on_from_its_own_answer_and_names_what_answered(
    facade: StudioFacade, home: ChatHome
) -> None:
    setup = Setup((home.base, "run:tuned-1"), sampling=SAMPLING)
    first = answered(facade, "tell me", None, setup)
    second = answered(facade, "more", first, setup)
    renderer = home.renderer()
    for pane, adapter in enumerate((None, home.run("tuned-1") / "adapter")):
        said = [Message.of("user", "tell me"), Message.of("assistant", first.answers[pane].text)]
        ids = renderer.encode_prompt([*said, Message.of("user", "more")])
        assert second.answers[pane].text == home.text(home.continued(ids, SAMPLING.max_tokens, adapter))
    base, tuned = (answer.proof for answer in second.answers)
    assert base is not None
    assert tuned is not None
    assert base.base == tuned.base == home.base_hash()
    assert (base.adapter is None, tuned.adapter is None) == (True, False)


@pytest.mark.worker
def test_a_stopped_answer_is_kept_as_far_as_it_came(facade: StudioFacade, home: ChatHome) -> None:
    turn = facade.ask(None, None, "tell me", Setup((home.base,), sampling=Sampling(max_tokens=90_000)))
    stream = facade.answer(turn.id)
    came = next(stream).text
    stream.close()  # type: ignore[attr-defined]
    (answer,) = facade.conversation(turn.conversation).turns[0].answers
    assert answer.text.startswith(came)
    assert (answer.done, answer.finish_reason, answer.proof) == (True, CANCELLED, None)
    assert answer != Answer()


@pytest.mark.worker
def test_an_answer_becomes_a_row_of_a_dataset(facade: StudioFacade, home: ChatHome) -> None:
    turn = answered(facade, "tell me", None, Setup((home.base,), sampling=SAMPLING))
    dataset = facade.keep_answer(turn.id, 0)
    assert facade.chat_rows() == (dataset, 1)
    assert Path(dataset).is_relative_to(home.root)
    assert facade.check(dataset).rows == 1
