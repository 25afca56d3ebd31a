from dataclasses import replace

import pytest

from backend.api.chat import Answer, ChatDelta, Conversation, Proof, Sampling, Setup, Turn
from ui import chat as moves
from ui.chat import Chat
from ui.fragments import chat as draw
from ui.fragments import compose
from ui.fragments.who import grouped, model_label, tone

BOTH = ("starter", "run:pirate-1")


def turn(id, parent=None, prompt="Hi", vote=None, setup=None, answers=None):
    setup = setup or Setup(BOTH)
    return Turn(id, 1, parent, prompt, setup, answers or (Answer(),) * len(setup.panes), vote)


def asked(*turns, **more):
    chat = Chat(BOTH, **more)
    for one in turns or (turn(1),):
        chat = moves.asked(chat, one)
    return chat


def told(error):
    return f"cause of {error['code']}", "remedy"


def drawn(words, chat):
    return str(draw.conversation(words.text, chat, told, ("Try this",)))


def test_pieces_add_up_in_their_own_pane():
    chat = asked()
    for pane, text in ((0, "Hel"), (1, "Ahoy"), (0, "lo")):
        chat = moves.add(chat, ChatDelta(pane, text))
    chat = moves.add(chat, ChatDelta(1, "", done=True, finish_reason="length", tokens=3))
    base, tuned = chat.turns[-1].answers
    assert (base.text, base.done) == ("Hello", False)
    assert (tuned.text, tuned.finish_reason, tuned.tokens) == ("Ahoy", "length", 3)


def test_a_run_that_trains_is_said_to_and_from_which_steps(words):
    chat = moves.add(asked(), ChatDelta(1, "", steps=(12, 12)))
    assert "It is being trained: it answers between its steps." in drawn(words, chat)
    chat = moves.add(chat, ChatDelta(1, "Ahoy"))
    chat = moves.add(chat, ChatDelta(1, "", done=True, tokens=3, seconds_to_first=0.5, steps=(12, 19)))
    assert "3 tokens" in drawn(words, chat)
    assert "while it trained, steps 12 to 19" in drawn(words, chat)


def test_stopping_keeps_what_came():
    chat = moves.end(moves.add(asked(), ChatDelta(0, "Hel")))
    assert not chat.busy
    assert [(a.text, a.finish_reason) for a in chat.turns[-1].answers] == [
        ("Hel", "cancelled"),
        ("", "cancelled"),
    ]


def test_a_failed_question_says_why_and_the_next_can_be_asked(words):
    chat = moves.fail(asked(), {"code": "chat_cancelled", "facts": {}})
    assert not chat.busy
    assert "cause of chat_cancelled" in drawn(words, chat)
    assert moves.unanswered(chat.turns[-1])


NOTHING = {"code": "run_has_no_adapter", "facts": {"run": "pirate-1", "state": "running"}}


def test_a_pane_that_cannot_answer_says_why_in_its_place(words):
    chat = moves.add(asked(differences=True), ChatDelta(0, "Hello"))
    chat = moves.add(chat, ChatDelta(1, "", done=True, error=NOTHING))
    chat = moves.end(moves.add(chat, ChatDelta(0, "", done=True, finish_reason="stop")))
    assert not moves.unanswered(chat.turns[-1])
    page = drawn(words, chat)
    ours, theirs = page.split("Tuned: pirate-1")
    assert "Hello" in ours
    assert "cause of run_has_no_adapter" not in ours
    assert "cause of run_has_no_adapter" in theirs
    assert 'class="votes"' not in page  # one answer is nothing to vote on
    assert words.text("chat.stopped_before") not in page
    assert "data-copy" not in theirs
    chat = moves.fail(chat, {"code": "chat_cancelled", "facts": {}})
    assert "Hello" in drawn(words, chat)


def test_what_came_of_an_answer_stays_beside_what_ended_it(words):
    chat = moves.add(asked(), ChatDelta(1, "Ahoy, hal"))
    page = drawn(words, moves.add(chat, ChatDelta(1, "", done=True, error=NOTHING)))
    assert page.index("Ahoy, hal") < page.index("cause of run_has_no_adapter")


def test_who_failed_in_a_blind_vote_is_known_after_it_or_where_nothing_is_left_to_vote_on(words):
    three = (*BOTH, "run:other-1")
    hidden = Setup(three, blind=True, order=(1, 2, 0))
    answers = (SAID[0], Answer(done=True, error=NOTHING), SAID[1])
    chat = moves.end(asked(turn(1, setup=hidden, answers=answers)))
    page = drawn(words, chat)
    assert words.text("chat.failed.hidden") in page
    assert "cause of" not in page
    assert words.text("chat.vote.1") not in page  # nobody votes for who said nothing
    assert words.text("chat.vote.2") in page
    assert "cause of run_has_no_adapter" in drawn(words, moves.voted(chat, 1, "2"))
    two = moves.end(asked(turn(1, setup=HIDDEN, answers=answers[:2])))
    page = drawn(words, two)
    assert "cause of run_has_no_adapter" in page
    assert 'class="votes"' not in page
    assert "Tuned:" not in page


TREE = (turn(1), turn(2, 1, "two"), turn(3, 1, "other two"), turn(4, 3, "three"), turn(5, 1, "third two"))


def test_the_newest_branch_shows_and_the_arrows_lead_to_the_others():
    chat = asked(*TREE)
    assert [t.id for t in chat.path] == [1, 5]
    assert [t.id for t in moves.walk(chat, 5, -1).path] == [1, 3, 4]
    assert [t.id for t in moves.walk(chat, 5, -2).path] == [1, 2]
    assert moves.walk(chat, 5, 1) == chat
    assert moves.walk(chat, 1, -1) == chat


def test_a_conversation_from_the_store_goes_on_as_it_was():
    setup = Setup(("starter", "run:a-1", "run:b-1"), "Be brief.", Sampling(9, 0.5, 0.9, 4), True, (2, 0, 1))
    last = turn(2, 1, setup=setup, answers=(Answer("half"),) * 3)
    chat = moves.opened(asked(differences=True), Conversation(7, "Talk", (turn(1), last)))
    assert (chat.panes, chat.system, chat.sampling, chat.blind) == (
        setup.panes,
        "Be brief.",
        setup.sampling,
        True,
    )
    assert (chat.conversation, chat.title, chat.at, chat.differences, chat.busy) == (
        7,
        "Talk",
        2,
        True,
        False,
    )
    assert all(answer.done for answer in chat.turns[1].answers)


def test_asking_again_takes_a_seed_that_was_not_asked_with():
    seeds = (3, 8, 5)
    turns = [
        turn(i, prompt="Hi", setup=Setup(BOTH, sampling=Sampling(seed=s))) for i, s in enumerate(seeds, 1)
    ]
    chat = asked(*turns, turn(9, prompt="other", setup=Setup(BOTH, sampling=Sampling(seed=99))))
    assert moves.setup_again(chat, chat.turn(1)).sampling.seed == 9


def test_blind_the_order_is_shuffled_and_with_one_alone_there_is_nothing_to_hide():
    chat = Chat(BOTH, blind=True)
    made = moves.setup(chat, list.reverse)
    assert (made.blind, made.shown) == (True, (1, 0))
    assert not moves.setup(replace(chat, panes=("starter",)), list.reverse).blind
    assert moves.setup(replace(chat, blind=False), list.reverse).shown == (0, 1)


PROOF = Proof("b0" * 32, "ad" * 32, "7e" * 32)
HIDDEN = Setup(BOTH, blind=True, order=(1, 0))
SAID = (
    Answer("Hello there", True, "stop", 2, 40.0, 0.2, PROOF),
    Answer("Ahoy there", True, "stop", 2, 50.0, 0.2, PROOF),
)


def test_a_blind_answer_gives_nothing_away_before_the_vote(words):
    chat = moves.end(asked(turn(1, setup=HIDDEN, answers=SAID)))
    page = drawn(words, chat)
    assert page.index("Ahoy there") < page.index("Hello there")
    for secret in ("pirate-1", "starter", PROOF.adapter, PROOF.base, "50 a second", "tuned", "seed 0"):
        assert secret not in page
    seen = drawn(words, moves.voted(chat, 1, "1"))
    for told in ("Tuned: pirate-1", "Base: starter", PROOF.adapter, "50 a second"):
        assert told in seen
    left, right = seen.split("Hello there")[0], seen.split("Ahoy there")[1]
    assert words.text("chat.vote.best") in left
    assert words.text("chat.vote.best") not in right.split("votes")[0]


def test_what_answered_is_on_every_answer(words):
    page = drawn(words, moves.end(asked(turn(1, answers=SAID))))
    assert page.count(PROOF.adapter) == 4  # on hover and in the fold, of both
    assert f"<code>{PROOF.adapter[:8]}</code>" in page


def test_differing_words_are_marked_once_all_is_said(words):
    chat = asked(turn(1, answers=SAID), differences=True)
    page = drawn(words, chat)
    assert '<mark class="not-there">Hello</mark> there' in page
    assert '<mark class="only-here">Ahoy</mark> there' in page
    assert "<mark" not in drawn(words, replace(chat, differences=False))
    assert "<mark" not in drawn(words, asked(turn(1), differences=True))


def test_panes_come_and_go_but_one_stays():
    chat = moves.add_pane(Chat(("starter",)), ("run:a-1", "starter"))
    assert chat.panes == ("starter", "run:a-1")
    for _ in range(5):
        chat = moves.add_pane(chat, ("run:a-1", "starter"))
    assert len(chat.panes) == 4
    assert moves.set_pane(chat, 1, "run:b-1").panes[1] == "run:b-1"
    for _ in range(5):
        chat = moves.remove_pane(chat, 0)
    assert len(chat.panes) == 1


def test_another_run_answers_before_a_checkpoint_of_the_same():
    models = ("run:b-1", "run:b-1@best", "run:a-1", "run:a-1@8", "starter")
    chat = Chat(("starter", "run:b-1"))
    chat = moves.add_pane(chat, models)
    assert moves.add_pane(chat, models).panes == ("starter", "run:b-1", "run:a-1", "run:b-1@best")


def test_sampling_values_stay_in_their_range():
    chat = Chat(("starter",))
    assert moves.set_sampling(chat, "temperature", "9").sampling.temperature == 2.0
    assert moves.set_sampling(chat, "max_tokens", "0").sampling.max_tokens == 1
    assert moves.set_sampling(chat, "seed", "7").sampling.seed == 7
    assert moves.set_sampling(chat, "top_p", "x") == chat
    assert moves.set_sampling(chat, "seed", "1e999") == chat


def test_a_preset_is_known_by_its_values():
    chat = Chat(("starter",), sampling=Sampling(seed=3))
    assert chat.preset == "precise"
    assert moves.set_preset(chat, "creative").preset == "creative"
    assert moves.set_preset(chat, "creative").sampling.seed == 3
    assert moves.set_sampling(chat, "temperature", "0.3").preset is None


def test_a_long_seed_is_shown_whole(words):
    assert 'value="1234567"' in compose.sampling(words.text, Chat(sampling=Sampling(seed=1234567)), "x")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("starter", "starter"),
        ("path:/models/tiny", "tiny"),
        ("hub:org/name@main", "org/name@main"),
        ("run:pirate-1", "pirate-1"),
        ("run:pirate-1@best", "pirate-1, best checkpoint"),
        ("run:pirate-1@40", "pirate-1, step 40"),
    ],
)
def test_a_model_is_called_as_a_person_would(words, name, label):
    assert model_label(words.text, name) == label


def test_the_base_is_slate_and_every_run_has_a_colour_of_its_own():
    panes = ("run:a", "starter", "run:b", "run:c")
    assert [tone(panes, i) for i in range(4)] == ["tuned", "base", "third", "fourth"]


def test_checkpoints_stand_with_their_run(words, facade):
    groups = dict(grouped(words.text, facade.chat_models()))
    assert [name for name, _ in groups["pirate-1"]] == [
        "run:pirate-1",
        "run:pirate-1@best",
        "run:pirate-1@40",
    ]
    assert ("starter", "starter") in groups[words.text("chat.who.bases")]


def test_a_prompt_set_goes_on_where_it_was_left():
    chat = moves.opened(
        Chat(BOTH), Conversation(3, "ask.txt", (turn(1, prompt="one"),), ("one", "two", "three"))
    )
    assert chat.waiting == ("two", "three")
    assert moves.asked(chat, turn(2, prompt="two")).path == (*chat.turns, turn(2, prompt="two"))
    assert not moves.setup(replace(chat, blind=True)).blind
