"""GGUF files with a vocabulary of SentencePiece's kind: what stands in them, and that llama.cpp's way of
cutting text, done again here, makes the model's own ids."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf import TokenType
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from studio.data.render import Renderer
from studio.data.rows import Message
from studio.data.template import ChatTemplate
from studio.errors import StudioError
from studio.export.export import export
from studio.export.gguf_pieces import Pieces, pieces_of
from studio.export.gguf_reading import TEXTS, reading
from studio.export.subject import Subject
from studio.exports import exports
from studio.params import parse
from tests.toys.pieces import INST, ROLES, piece_tokenizer, write_pieces_model

WORDS = (
    "The cat sat on the other mat and there it said hello to all of them. ",
    "What is the weather like today in the north? It is seventeen degrees, it isn't cold. ",
    "user assistant [INST] [/INST] return the naïve café  and   more    spaces qzqz qzqz ",
)
SPACED = INST.replace("m.content + eos_token", "m.content + eos_token + ' '")
TALK = (
    Message.of("user", "What is  that?"),
    Message.of("assistant", "The cat."),
    Message.of("user", " Oh 7"),
)


@cache
def learned() -> str:
    return piece_tokenizer(WORDS * 3, 400).to_str()  # type: ignore[no-any-return]


def tokenizer_of(spaces: str = "prepend") -> Tokenizer:
    """`prepend`: as in Llama 2's tokenizer.json; `always`, `first`: as transformers 5 builds it anew, older
    or not; `never`: Gemma's."""
    tokenizer = Tokenizer.from_str(learned())
    if spaces == "never":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    elif spaces != "prepend":
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", spaces, split=False)
    return tokenizer


def written(base: Path, out: Path, type: str = "f16") -> Any:
    format, renderer = exports.get("gguf"), Renderer.from_folder(base)
    prompts = [renderer.encode_prompt(TALK[:1]), renderer.encode_prompt(TALK)]
    return export(Subject(base, "hash"), format, parse(format.params, {"type": type})[0], out, prompts)


def facts_of(folder: Path) -> dict[str, Any]:
    fields = gguf.GGUFReader(folder / "model-f16.gguf").fields
    names = [name for name in fields if name.startswith("tokenizer.")]
    return {name.removeprefix("tokenizer.").removeprefix("ggml."): fields[name].contents() for name in names}


def pieces_in(facts: dict[str, Any]) -> Pieces:
    types = [TokenType(type) for type in facts["token_type"]]
    return Pieces(facts["tokens"], facts["scores"], types, facts["add_space_prefix"])


@torch.no_grad()
def logits(folder: Path, ids: list[int], **more: Any) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)
    return model.eval()(torch.tensor([ids])).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("spaces", "template", "prefix", "lead"),
    [
        ("prepend", INST, True, ""),
        ("prepend", SPACED, True, ""),
        ("prepend", ROLES, True, ""),
        ("first", INST, False, ""),
        ("first", SPACED, False, ""),
        ("first", ROLES, False, " "),  # a space before all, and none behind an end token
        ("always", INST, True, ""),
        ("never", ROLES, False, ""),
    ],
)
def test_conversations_have_the_models_own_ids(
    tmp_path: Path, spaces: str, template: str, prefix: bool, lead: str
) -> None:
    base = write_pieces_model(tmp_path / "base", tokenizer_of(spaces), template)
    made = written(base, tmp_path / "out")
    assert made.parity.passed
    facts = facts_of(made.folder)
    assert facts["add_space_prefix"] is prefix
    inside = "{{ ' ' }}" + template if lead else template
    assert facts["chat_template"] == inside
    pieces, renderer = pieces_in(facts), Renderer.from_folder(base)
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    again = ChatTemplate(inside, special, [*special.values(), "<unk>"], datetime.now())
    for talk in (TALK[:1], TALK):
        text = again.render(talk, add_generation_prompt=True)
        assert text == lead + renderer.template.render(talk, add_generation_prompt=True)
        assert pieces.ids(text) == renderer.encode_prompt(talk)
    there, here = (
        logits(base, renderer.encode_prompt(TALK)),
        logits(made.folder, renderer.encode_prompt(TALK), gguf_file="model-f16.gguf"),
    )
    assert float((there - here).abs().max() / there.abs().max()) <= 1e-2


def test_what_stands_in_the_file(tmp_path: Path) -> None:
    tokenizer = tokenizer_of()
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    base = write_pieces_model(tmp_path / "base", tokenizer)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    facts = facts_of(written(base, tmp_path / "out").folder)
    size = tokenizer.get_vocab_size()
    assert (facts["model"], config["vocab_size"]) == ("llama", size)
    assert facts["tokens"] == [tokenizer.id_to_token(id) for id in range(size)]
    unknown, control, byte, normal, user = 2, 3, 6, 1, 4
    assert facts["token_type"][:4] == [unknown, control, control, byte]
    assert facts["token_type"][258:260] == [byte, normal]
    assert facts["token_type"][-1] == user
    assert (facts["bos_token_id"], facts["eos_token_id"], facts["unknown_token_id"]) == (1, 2, 0)
    assert (facts["padding_token_id"], facts["add_bos_token"], facts["add_eos_token"]) == (2, True, False)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    scores = dict(zip(facts["tokens"], facts["scores"], strict=True))
    ranked = [scores["".join(merge)] for merge in merges]
    assert ranked == sorted(ranked, reverse=True)
    assert ranked[0] == 0
    assert max(scores["a"], scores["<s>"], scores["<0x41>"], scores["<tool>"]) < min(ranked)
    modelfile = (tmp_path / "out" / "Modelfile").read_text(encoding="utf-8")
    assert 'PARAMETER stop "</s>"' in modelfile


def test_the_modelfile_writes_the_space_too(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("first")
    tokenizer.post_processor = (
        None  # with a begin token before every text there is no such template for Ollama
    )
    written(write_pieces_model(tmp_path / "base", tokenizer, ROLES), tmp_path / "out")
    modelfile = (tmp_path / "out" / "Modelfile").read_text(encoding="utf-8")
    assert 'TEMPLATE """ {{ range .Messages }}' in modelfile


@pytest.mark.parametrize("spaces", ["first", "prepend"])
def test_transformers_reads_the_vocabulary(tmp_path: Path, spaces: str) -> None:
    """It reads no `add_space_prefix` and puts a space at the very beginning alone: there the ids are equal,
    and otherwise those of text without special tokens."""
    base = write_pieces_model(tmp_path / "base", tokenizer_of(spaces))
    made = written(base, tmp_path / "out")
    read = AutoTokenizer.from_pretrained(made.folder, gguf_file="model-f16.gguf")
    renderer = Renderer.from_folder(base)
    for text in TEXTS:
        if not text.startswith(" "):
            assert read(text, add_special_tokens=False)["input_ids"] == renderer.encode_text(text)
    messages = [{"role": message.role, "content": message.text} for message in TALK]
    asked = read.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert (asked == renderer.encode_prompt(TALK)) is (spaces == "first")


def rewritten(tokenizer: Tokenizer, **model: Any) -> Tokenizer:
    body = json.loads(tokenizer.to_str())
    body["model"] |= model
    return Tokenizer.from_str(json.dumps(body))


def without_merge(tokenizer: Tokenizer, piece: str) -> Tokenizer:
    """The piece stays, and no merge leads to it."""
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    assert any("".join(merge) == piece for merge in merges)
    return rewritten(tokenizer, merges=[merge for merge in merges if "".join(merge) != piece])


def without_byte(tokenizer: Tokenizer) -> Tokenizer:
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    return rewritten(tokenizer, vocab={("<no>" if k == "<0x0A>" else k): v for k, v in vocabulary.items()})


def normalised(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), tokenizer.normalizer])
    return tokenizer


def with_token(tokenizer: Tokenizer, **how: bool) -> Tokenizer:
    tokenizer.add_tokens([AddedToken("<tool>", **{"normalized": False, **how})])
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "template", "code"),
    [
        # llama.cpp joins neighbours whose joined text is a piece, whatever merges there are.
        (lambda: without_merge(tokenizer_of(), "qz"), INST, "export_tokenizer_differs"),
        # It puts a space in front of one behind an end token, or none in front of text at the beginning.
        (lambda: tokenizer_of("always"), SPACED, "export_tokenizer_differs"),
        # It finds a special token wherever it stands.
        (lambda: with_token(tokenizer_of(), single_word=True), INST, "export_tokenizer_differs"),
        (lambda: with_token(tokenizer_of(), normalized=True), INST, "export_tokenizer_differs"),
        (lambda: without_byte(tokenizer_of()), INST, "export_tokenizer_unknown"),
        (lambda: normalised(tokenizer_of()), INST, "export_tokenizer_unknown"),
        (lambda: rewritten(tokenizer_of(), byte_fallback=False), INST, "export_tokenizer_unknown"),
    ],
)
def test_what_llama_cpp_reads_otherwise_is_refused(
    tmp_path: Path, tokenizer: Any, template: str, code: str
) -> None:
    base = write_pieces_model(tmp_path / "base", tokenizer(), template)
    with pytest.raises(StudioError) as refused:
        written(base, tmp_path / "out")
    assert refused.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_what_the_model_was_asked_is_compared_too(tmp_path: Path) -> None:
    tokenizer = without_merge(tokenizer_of(), "qz")
    renderer = Renderer.from_folder(write_pieces_model(tmp_path / "base", tokenizer))
    found = pieces_of(tokenizer, json.loads(tokenizer.to_str()), 0, tokenizer.get_vocab_size())
    pairs = zip(found.tokens, found.types, strict=True)
    hidden = [TokenType.UNUSED if "qz" in token else type for token, type in pairs]
    pieces = replace(found, types=hidden)
    assert reading(pieces, tokenizer, renderer, [renderer.encode_text("nothing of it")]).pieces.prefix
    with pytest.raises(StudioError) as refused:
        reading(pieces, tokenizer, renderer, [renderer.encode_text("and qz")])
    assert refused.value.code == "export_tokenizer_differs"


SMALL = ["<unk>", "<s>", "a", "b", "c", "▁", "ab", "bc", "abc", "▁a", "<0xC3>", "<0xA9>", "aa"]
LOW, NORMAL = -99.0, TokenType.NORMAL


@pytest.mark.parametrize(
    ("scores", "text", "expected"),
    [
        ({"ab": -1, "bc": -2}, "abc", ["ab", "c"]),
        ({"ab": -2, "bc": -1}, "abc", ["a", "bc"]),
        ({"ab": -1, "bc": -2, "abc": -3}, "abc", ["abc"]),
        ({"aa": -1}, "aaa", ["aa", "a"]),  # of equals the one on the left
        ({"aa": -1, "ab": -2}, "aaab", ["aa", "ab"]),
        ({}, "aé", ["a", "<0xC3>", "<0xA9>"]),
    ],
)
def test_the_neighbours_of_the_highest_score_are_joined(
    scores: dict[str, float], text: str, expected: list[str]
) -> None:
    known = [token for token in SMALL if (len(token) != 2 and token != "abc") or token in scores]
    pieces = Pieces(known, [scores.get(token, LOW) for token in known], [NORMAL] * len(known))
    assert [known[id] for id in pieces.cut(text)] == expected


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [(True, ["▁a", "<s>", "▁a", "▁", "b", "<s>"]), (False, ["a", "<s>", "a", "▁", "b", "<s>"])],
)
def test_a_space_goes_in_front_of_each_stretch_of_text(prefix: bool, expected: list[str]) -> None:
    types = [TokenType.CONTROL if token == "<s>" else NORMAL for token in SMALL]
    pieces = Pieces(SMALL, [LOW] * len(SMALL), types, prefix)
    assert [SMALL[id] for id in pieces.ids("a<s>a b<s>")] == expected
