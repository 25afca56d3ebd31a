"""The renderer against its oracle: transformers' `apply_chat_template` and its assistant mask."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

from studio.data.render import Renderer
from studio.data.rows import Message, Stream
from studio.errors import StudioError
from tests.data.conversations import CONVERSATIONS, dicts_of, learned_text, stream_of
from tests.data.templates import FAMILIES, TOOLS, Family, write_model_folder


def learned_runs(renderer: Renderer, stream: Stream) -> list[str]:
    """The text of each run of learned tokens."""
    encoded = renderer.encode(stream)
    runs = [
        [token for token, _ in run]
        for learned, run in groupby(zip(encoded.ids, encoded.learned, strict=True), key=lambda pair: pair[1])
        if learned
    ]
    return [renderer.decode(run, skip_special=False) for run in runs]


def refused(name: str, conversation: str) -> bool:
    return name == "gemma" and conversation == "system"


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_ids_equal_apply_chat_template(family, conversation: str) -> None:
    name, renderer, reference = family
    turns = CONVERSATIONS[conversation]
    if refused(name, conversation):
        with pytest.raises(Exception, match="System role not supported"):
            reference.apply_chat_template(dicts_of(turns))
        return
    expected = reference.apply_chat_template(dicts_of(turns), return_dict=False)
    assert renderer.encode(stream_of(turns)).ids == expected


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_prompt_ids_equal_apply_chat_template_and_begin_the_training_ids(family, conversation: str) -> None:
    name, renderer, reference = family
    turns = CONVERSATIONS[conversation]
    if refused(name, conversation):
        turns = turns[1:]
    prompt = renderer.encode_prompt(stream_of(turns[:-1]).messages)
    expected = reference.apply_chat_template(
        dicts_of(turns[:-1]), add_generation_prompt=True, return_dict=False
    )
    assert prompt == expected
    if not (name == "qwen3" and conversation in ("thinking", "multi", "three")):
        # (Qwen 3 renders earlier turns otherwise once a new one follows; the last turn is still the same.)
        assert renderer.encode(stream_of(turns)).ids[: len(prompt)] == prompt


LEARNED = {
    # What the model must write itself: after the generation prompt, up to and with the end-of-turn token.
    "single": ["Paris."],
    "multi": ["Hi there! 😀", " 46 é你 "],
    "system": ["I'm fine,\n\nthank you!"],
    "three": ["assistant says 0", "assistant says 1", "assistant says 2"],
}


@pytest.mark.parametrize("conversation", LEARNED)
def test_answers_and_their_end_tokens_are_learned_and_nothing_else(family, conversation: str) -> None:
    name, renderer, _ = family
    answers = [text.strip() if name in ("llama3", "gemma") else text for text in LEARNED[conversation]]
    if name == "qwen3":  # its template opens the last answer with an empty thinking block
        answers[-1] = "<think>\n\n</think>\n\n" + answers[-1]
    runs = learned_runs(renderer, stream_of(CONVERSATIONS[conversation]))
    if name in ("phi3", "mistral"):
        # Phi 3's role token swallows the white space behind it; in Mistral's format the space before an
        # answer is part of its first token where there is such a token.
        runs, answers = [text.lstrip() for text in runs], [text.lstrip() for text in answers]
    assert runs == [text + FAMILIES[name].end for text in answers]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", ["chatml_marked", "starter"])
def test_labels_equal_the_assistant_mask_of_marked_templates(
    tmp_path: Path, name: str, conversation: str
) -> None:
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path, FAMILIES[name])
    untrimmed = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # The reference loses a whole answer that begins with a space where the tokenizer trims its offsets.
    untrimmed.post_processor = processors.ByteLevel(trim_offsets=False)
    untrimmed.save(str(folder / "tokenizer.json"))
    out = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        dicts_of(CONVERSATIONS[conversation]), return_dict=True, return_assistant_tokens_mask=True
    )
    encoded = Renderer.from_folder(folder).encode(stream_of(CONVERSATIONS[conversation]))
    assert encoded.ids == out["input_ids"]
    assert [int(learned) for learned in encoded.learned] == out["assistant_masks"]
    assert 0 < sum(encoded.learned) < len(encoded.ids)


def test_marked_and_unmarked_templates_give_the_same_labels(tmp_path: Path) -> None:
    marked = Renderer.from_folder(write_model_folder(tmp_path / "a", FAMILIES["chatml_marked"]))
    plain = Renderer.from_folder(write_model_folder(tmp_path / "b", FAMILIES["chatml"]))
    for turns in CONVERSATIONS.values():
        assert learned_text(marked, stream_of(turns)) == learned_text(plain, stream_of(turns))


def test_random_conversations_equal_apply_chat_template(family) -> None:
    name, renderer, reference = family
    draw = random.Random(7)
    words = [
        "Paris",
        " the",
        "\n",
        "\n\n",
        "12",
        " ",
        "é",
        "😀",
        "<",
        "think>",
        "</s>",
        "你好",
        "'s",
        "{",
        "#",
        ".",
    ]
    for _ in range(60):
        turns = [
            (role, "".join(draw.choices(words, k=draw.randint(1, 8))).strip() + ".")
            for _ in range(draw.randint(1, 3))
            for role in ("user", "assistant")
        ]
        encoded = renderer.encode(stream_of(turns))
        assert encoded.ids == reference.apply_chat_template(dicts_of(turns), return_dict=False), (name, turns)
        assert sum(encoded.learned) >= len(turns) // 2


def test_only_chosen_answers_are_learned(family) -> None:
    name, renderer, _ = family
    turns = CONVERSATIONS["three"]
    messages = stream_of(turns).messages
    stream = Stream(messages, tuple(place == 3 for place in range(6)))
    assert learned_text(renderer, stream).strip() == "assistant says 1" + FAMILIES[name].end


def test_end_of_turn_is_learned_although_padding_is_the_same_token(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["starter"]))
    assert renderer.pad_id == renderer.eos_id
    encoded = renderer.encode(stream_of(CONVERSATIONS["single"]))
    places = [place for place, token in enumerate(encoded.ids) if token == renderer.eos_id]
    assert [encoded.learned[place] for place in places] == [
        False,
        True,
    ]  # the question's end, the answer's end


def test_many_streams_equal_one_by_one(family) -> None:
    _, renderer, _ = family
    streams = [stream_of(CONVERSATIONS[name]) for name in ("single", "multi", "three")]
    one_by_one = [renderer.encode(stream, 20) for stream in streams]
    assert list(renderer.encode_many(streams * 180, 20)) == one_by_one * 180  # more than one batch


def test_long_rows_are_cut_at_the_end(family) -> None:
    _, renderer, _ = family
    whole = renderer.encode(stream_of(CONVERSATIONS["three"]))
    cut = renderer.encode(stream_of(CONVERSATIONS["three"]), max_length=10)
    assert (cut.ids, cut.learned, cut.truncated) == (whole.ids[:10], whole.learned[:10], True)
    assert not renderer.encode(stream_of(CONVERSATIONS["three"]), max_length=len(whole.ids)).truncated


def test_system_text_joins_the_first_question_where_the_template_has_no_system_role(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["gemma"]))
    assert "template_no_system" in [note.code for note in renderer.notes]
    _, (_, question), answer = CONVERSATIONS["system"]
    joined = [("user", f"Be kind.\n\n{question}"), answer]
    assert renderer.encode(stream_of(CONVERSATIONS["system"])) == renderer.encode(stream_of(joined))


def test_tool_results_become_questions_where_the_template_has_no_tool_role(tmp_path: Path) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")]
    as_question = [("user" if role == "tool" else role, text) for role, text in turns]
    plain = Renderer.from_folder(write_model_folder(tmp_path / "a", FAMILIES["chatml"]))
    assert plain.encode(stream_of(turns)) == plain.encode(stream_of(as_question))
    knows = Family(TOOLS, "<|im_end|>", {"eos_token": "<|im_end|>"}, ("<|im_start|>",))
    tools = Renderer.from_folder(write_model_folder(tmp_path / "b", knows))
    assert "<tool>c</tool>" in tools.decode(tools.encode(stream_of(turns)).ids)


def test_a_refused_row_gives_its_error_in_place(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["mistral"]))
    good = stream_of(CONVERSATIONS["single"])
    bad = stream_of([("user", "a"), ("user", "b"), ("assistant", "c")])
    first, second, third = renderer.encode_many([good, bad, good])
    assert isinstance(second, StudioError)
    assert second.code == "template_refused"
    assert second.facts["detail"] == "roles must alternate"
    assert first == third == renderer.encode(good)


def test_a_text_that_holds_our_marks_is_read_without_them(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"]))
    dirty = stream_of([("user", "a\ufdd0b"), ("assistant", "\ufdd2c\ufdd3\ufdd3")])
    assert renderer.encode(dirty) == renderer.encode(stream_of([("user", "ab"), ("assistant", "c")]))


def test_plain_text_goes_past_the_template(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name in ("llama3", "gemma", "chatml"):
        folder = write_model_folder(tmp_path / name, FAMILIES[name])
        renderer = Renderer.from_folder(folder)
        text = "What is the capital of France? Paris."
        encoded = renderer.encode(Stream((Message.of("text", text),), (True,)))
        reference = AutoTokenizer.from_pretrained(folder)
        assert encoded.ids == [*reference(text)["input_ids"], renderer.eos_id]
        begin = [False] if name != "chatml" else []
        assert encoded.learned == begin + [True] * (len(encoded.ids) - len(begin))


def test_streamed_text_joins_to_the_decoded_text(family) -> None:
    _, renderer, _ = family
    text = "Hi there! 😀 é你好 привет\n\n 5 €"
    ids = renderer.encode_text(text)
    detokenizer = renderer.detokenizer()
    pieces = [detokenizer.push(token) for token in ids]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + detokenizer.finish() == renderer.decode(ids)
    assert sum(bool(piece) for piece in pieces) > 5


def test_the_bytes_of_tokens_join_to_the_text(family) -> None:
    _, renderer, _ = family
    text = "Hi there! 😀 é你好 привет\n\n 5 €"
    spelled = [renderer.spell(token) for token in renderer.encode_text(text)]
    assert b"".join(spelling for _, spelling in spelled).decode().strip() == text
    assert all(said.encode() == spelling for said, spelling in spelled if "\ufffd" not in said)


def test_bytes_that_never_become_a_character_do_not_hold_the_stream(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"]))
    broken = renderer.encode_text("😀")[:1] * 20
    detokenizer = renderer.detokenizer()
    told = "".join(detokenizer.push(token) for token in broken)
    assert "\ufffd" in told
    assert told + detokenizer.finish() == renderer.decode(broken)
