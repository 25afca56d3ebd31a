"""The renderer against its oracle: transformers' `apply_chat_template` and its assistant mask."""

from __future__ import annotations

import json
import random
from itertools import groupby
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, normalizers, processors

from studio.data.render import Renderer
from studio.data.rows import Message, Stream
from studio.errors import StudioError
from tests.data.templates import FAMILIES, TOOLS, Family, write_model_folder

CONVERSATIONS = {
    "single": [("user", "What is the capital of France?"), ("assistant", "Paris.")],
    "multi": [
        ("user", "Hello"),
        ("assistant", "Hi there! 😀"),
        ("user", " what is 12 + 34?\n"),
        ("assistant", " 46 é你 "),
    ],
    "system": [("system", "Be kind."), ("user", "привет"), ("assistant", "I'm fine,\n\nthank you!")],
    "thinking": [
        ("user", "a"),
        ("assistant", "<think>\nhm\n</think>\n\nb"),
        ("user", "c"),
        ("assistant", "<think>\nhm 2\n</think>\n\nd"),
    ],
    "three": [(role, f"{role} says {n}") for n in range(3) for role in ("user", "assistant")],
}


def stream_of(turns: list[tuple[str, str]]) -> Stream:
    messages = tuple(Message.of(role, text) for role, text in turns)
    return Stream(messages, tuple(m.role == "assistant" for m in messages))


def dicts_of(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def learned_runs(renderer: Renderer, stream: Stream) -> list[str]:
    """The text of each run of learned tokens."""
    encoded = renderer.encode(stream)
    runs = [
        [token for token, _ in run]
        for learned, run in groupby(zip(encoded.ids, encoded.learned, strict=True), key=lambda pair: pair[1])
        if learned
    ]
    return [renderer.decode(run, skip_special=False) for run in runs]


def learned_text(renderer: Renderer, stream: Stream) -> str:
    encoded = renderer.encode(stream)
    ids = [i for i, learned in zip(encoded.ids, encoded.learned, strict=True) if learned]
    return renderer.decode(ids, skip_special=False)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(name, renderer, transformers' tokenizer) of the same folder."""
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path_factory.mktemp(request.param), FAMILIES[request.param])
    return request.param, Renderer.from_folder(folder), AutoTokenizer.from_pretrained(folder)


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


def test_a_run_never_has_half_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model_folder(tmp_path / "model", next(iter(FAMILIES.values())))
    folder = tmp_path / "run" / "tokenizer"

    def disk_full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("studio.data.render._write_json", disk_full)
        with pytest.raises(OSError, match="disk full"):
            Renderer.of_run(folder, model)
    assert not folder.exists()
    assert Renderer.of_run(folder, model).hash() == Renderer.from_folder(model).hash()
    assert [entry.name for entry in folder.parent.iterdir()] == ["tokenizer"]


def test_saved_folder_gives_the_same_renderer_and_loads_in_transformers(family, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    _, renderer, _ = family
    renderer.save(tmp_path)
    again = Renderer.from_folder(tmp_path)
    assert again.hash() == renderer.hash()
    assert (again.stop_ids, again.pad_id, again.eos_id, again.notes) == (
        renderer.stop_ids,
        renderer.pad_id,
        renderer.eos_id,
        renderer.notes,
    )
    turns = CONVERSATIONS["multi"]
    assert again.encode(stream_of(turns)) == renderer.encode(stream_of(turns))
    reference = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        reference.apply_chat_template(dicts_of(turns), return_dict=False)
        == again.encode(stream_of(turns)).ids
    )


def test_date_of_a_saved_renderer_stays(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path / "model", FAMILIES["llama3"]))
    renderer.save(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "renderer.json").read_text())
    facts["now"] = "2024-07-26T12:00:00"
    (tmp_path / "run" / "renderer.json").write_text(json.dumps(facts))
    prompt = Renderer.from_folder(tmp_path / "run").encode_prompt([Message.of("user", "Hi")])
    assert "26 Jul 2024" in renderer.decode(prompt)


@pytest.mark.parametrize("place", ["jinja", "config", "list"])
def test_template_is_found_wherever_a_model_keeps_it(tmp_path: Path, place: str) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"], place))
    assert renderer.template_text == FAMILIES["chatml"].template


def test_stop_ids_hold_the_end_of_turn_and_the_end_of_text(family) -> None:
    name, renderer, reference = family
    expected = {FAMILIES[name].end, FAMILIES[name].special["eos_token"], *FAMILIES[name].end_ids}
    assert renderer.stop_ids == {reference.convert_tokens_to_ids(token) for token in expected}


def test_base_model_without_template_gets_the_fallback_and_says_so(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"], "none"))
    assert [note.code for note in renderer.notes] == ["template_fallback"]
    stream = stream_of(CONVERSATIONS["multi"])
    assert learned_text(renderer, stream) == "Hi there! 😀<|im_end|> 46 é你 <|im_end|>"
    prompt = renderer.encode_prompt(stream.messages[:-1])
    assert renderer.encode(stream).ids[: len(prompt)] == prompt
    assert renderer.decode(prompt, skip_special=False).endswith("User:\n what is 12 + 34?\n\n\nAssistant:\n")


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


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{% for m in messages %}{{ m.content }}", "template_broken"),
        ("{{ messages[7].content }}", "template_broken"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content | upper }}{% endfor %}", None),
        ("{% for m in messages %}{{ m.content | length }} {% endfor %}", "template_broken"),
        ("{{ ''.__class__.__mro__ }}", "template_broken"),
        ("{{ messages.append(1) }}", "template_broken"),
    ],
)
def test_impossible_templates_are_refused_with_a_code(
    tmp_path: Path, template: str, code: str | None
) -> None:
    family = Family(template, "<|end|>", {"eos_token": "<|end|>"})
    folder = write_model_folder(tmp_path, family)
    if code is None:  # upper case keeps the marks in place
        assert (
            learned_text(Renderer.from_folder(folder), stream_of([("user", "a"), ("assistant", "b")])) == "B"
        )
        return
    with pytest.raises(StudioError) as caught:
        Renderer.from_folder(folder)
    assert caught.value.code == code
    assert caught.value.facts["detail"]


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


def test_special_tokens_that_only_the_configuration_names_are_added(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path, FAMILIES["chatml"])
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["pad_token"] = "[PAD]"
    config["additional_special_tokens"] = ["<extra>"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    renderer, reference = Renderer.from_folder(folder), AutoTokenizer.from_pretrained(folder)
    assert renderer.pad_id == reference.pad_token_id
    assert renderer.vocab_size == len(reference)
    assert (
        renderer.encode_text("a<extra>b[PAD]")
        == reference("a<extra>b[PAD]", add_special_tokens=False)["input_ids"]
    )


def test_streamed_text_joins_to_the_decoded_text(family) -> None:
    _, renderer, _ = family
    text = "Hi there! 😀 é你好 привет\n\n 5 €"
    ids = renderer.encode_text(text)
    detokenizer = renderer.detokenizer()
    pieces = [detokenizer.push(token) for token in ids]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + detokenizer.finish() == renderer.decode(ids)
    assert sum(bool(piece) for piece in pieces) > 5


def test_bytes_that_never_become_a_character_do_not_hold_the_stream(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"]))
    broken = renderer.encode_text("😀")[:1] * 20
    detokenizer = renderer.detokenizer()
    told = "".join(detokenizer.push(token) for token in broken)
    assert "\ufffd" in told
    assert told + detokenizer.finish() == renderer.decode(broken)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        (None, "", "tokenizer_missing"),
        ("tokenizer.json", "{", "tokenizer_unreadable"),
        ("tokenizer.json", "[]", "tokenizer_unreadable"),
        pytest.param(
            "tokenizer.model", "no SentencePiece file", "tokenizer_unconvertible", marks=pytest.mark.worker
        ),
    ],
)
def test_a_folder_without_a_readable_tokenizer_is_said_so(
    tmp_path: Path, name: str | None, content: str, code: str
) -> None:
    if name is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StudioError) as caught:
        Renderer.from_folder(tmp_path)
    assert caught.value.code == code


@pytest.mark.worker
def test_a_slow_tokenizer_is_converted_once(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = write_model_folder(tmp_path / "fast", FAMILIES["chatml"])
    model = json.loads((source / "tokenizer.json").read_text())["model"]
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (slow / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "bos_token": "<|im_end|>"}
    config |= {"unk_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]}
    config["chat_template"] = FAMILIES["chatml"].template
    (slow / "tokenizer_config.json").write_text(json.dumps(config))
    (slow / "config.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 395}))
    renderer = Renderer.from_folder(slow, converted=tmp_path / "converted")
    reference = AutoTokenizer.from_pretrained(slow)
    turns = CONVERSATIONS["multi"]
    assert renderer.encode(stream_of(turns)).ids == reference.apply_chat_template(
        dicts_of(turns), return_dict=False
    )
    (made,) = (tmp_path / "converted").glob("*/tokenizer.json")
    before = made.stat().st_mtime_ns
    assert Renderer.from_folder(slow, converted=tmp_path / "converted").hash() == renderer.hash()
    assert made.stat().st_mtime_ns == before


@pytest.mark.worker
def test_llamas_sentencepiece_tokenizer_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    """Llama 2 and its kin: transformers 5 builds them anew instead of taking tokenizer.json as it stands."""
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path / "model", FAMILIES["mistral"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    as_it_stands = Renderer.from_folder(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizer"}))
    turns = CONVERSATIONS["multi"]
    reference = AutoTokenizer.from_pretrained(folder)
    expected = reference.apply_chat_template(dicts_of(turns), return_dict=False)
    assert expected != as_it_stands.encode(stream_of(turns)).ids
    renderer = Renderer.from_folder(folder)
    assert renderer.encode(stream_of(turns)).ids == expected
    renderer.save(tmp_path / "run")
    again = Renderer.from_folder(tmp_path / "run")
    assert (again.encode(stream_of(turns)).ids, again.hash()) == (expected, renderer.hash())
    saved = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert saved.apply_chat_template(dicts_of(turns), return_dict=False) == expected
    detokenizer = renderer.detokenizer()
    streamed = "".join(detokenizer.push(token) for token in expected) + detokenizer.finish()
    assert streamed == renderer.decode(expected) == reference.decode(expected, skip_special_tokens=True)


@pytest.mark.worker
def test_rendering_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = write_model_folder(tmp_path, FAMILIES["starter"])
    program = (
        "import sys, pathlib; from studio.data.render import Renderer; from studio.data.check import check; "
        f"Renderer.from_folder(pathlib.Path({str(folder)!r})); "
        "print(sorted({'torch', 'transformers', 'pandas', 'pyarrow', 'gradio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
