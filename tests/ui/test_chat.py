from backend.api import ChatDelta
from ui import chat as moves
from ui.chat import Chat, Sampling
from ui.fragments import chat as draw


def asked(prompt="Hi"):
    return moves.ask(Chat(model="run:pirate-1"), prompt)


def test_a_run_answers_beside_its_base_and_a_model_alone():
    assert Chat(model="run:pirate-1").sides == ("base", "tuned")
    assert Chat(model="starter").sides == ("base",)


def test_both_sides_get_the_same_prompt_settings_and_seed():
    chat = Chat(model="run:a", sampling=Sampling(32, 0.7, 0.9, 5))
    request = moves.request(moves.ask(moves.ask(chat, "first"), " second "))
    assert request.compare
    assert request.messages == ({"role": "user", "content": "second"},)
    assert (request.max_tokens, request.temperature, request.top_p, request.seed) == (32, 0.7, 0.9, 5)


def test_pieces_add_up_on_their_own_side():
    chat = asked()
    for side, text in (("base", "Hel"), ("tuned", "Ahoy"), ("base", "lo")):
        chat = moves.add(chat, ChatDelta(side, text))
    chat = moves.add(chat, ChatDelta("tuned", "", done=True, finish_reason="length", tokens=3))
    answers = chat.turns[-1].answers
    assert (answers["base"].text, answers["base"].done) == ("Hello", False)
    assert (answers["tuned"].text, answers["tuned"].finish_reason, answers["tuned"].tokens) == (
        "Ahoy",
        "length",
        3,
    )


def test_a_run_that_trains_is_said_to_and_from_which_steps(words):
    chat = moves.add(asked(), ChatDelta("tuned", "", steps=(12, 12)))
    drawn = draw.conversation(words.text, chat.turns, {"tuned": "Tuned"}, [])
    assert "It is being trained: it answers between its steps." in drawn
    chat = moves.add(chat, ChatDelta("tuned", "Ahoy"))
    chat = moves.add(chat, ChatDelta("tuned", "", done=True, tokens=3, seconds_to_first=0.5, steps=(12, 19)))
    drawn = draw.conversation(words.text, chat.turns, {"tuned": "Tuned"}, [])
    assert "3 tokens" in drawn
    assert "while it trained, steps 12 to 19" in drawn


def test_stopping_keeps_what_came():
    chat = moves.end(moves.add(asked(), ChatDelta("base", "Hel")))
    assert not chat.busy
    assert chat.turns[-1].answers["base"].text == "Hel"
    assert chat.turns[-1].answers["tuned"].done


def test_a_failed_turn_says_why_and_the_next_can_be_asked():
    chat = moves.fail(asked(), "No room.", "Close something.")
    assert chat.turns[-1].problem == ("No room.", "Close something.")
    assert not chat.busy


def test_sampling_values_stay_in_their_range():
    chat = Chat(model="starter")
    assert moves.set_sampling(chat, "temperature", "9").sampling.temperature == 2.0
    assert moves.set_sampling(chat, "max_tokens", "0").sampling.max_tokens == 1
    assert moves.set_sampling(chat, "seed", "7").sampling.seed == 7
    assert moves.set_sampling(chat, "top_p", "x") == chat
    assert moves.set_sampling(chat, "seed", "1e999") == chat


def test_a_long_seed_is_shown_whole(words):
    assert 'value="1234567"' in draw.sampling(words.text, Sampling(seed=1234567))
