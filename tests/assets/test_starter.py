"""The shipped starter model: its size, its tokens, what its template marks, and that it answers."""

from __future__ import annotations

import json
from itertools import islice, pairwise

import pytest
import regex
from tokenizers import Tokenizer

import assets
from assets.making.corpus import corpus, normalise
from assets.making.heldout import cases, prompts

FOLDER = assets.path("starter")
TEXTS = (
    "Hello! How can I help you today?",
    '{"name": "Zoë Müller", "age": 41}',
    "12 + 7 = 19. I don't know, it's 100% new\n1. apple\n2. pear",
    "  two  spaces, a tab\tand ünïcode: 東京 🙂",
    "O'Brien's we'll they're I've I'd",
    "",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def byte_letters() -> dict[int, str]:
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves, others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + position) for position, byte in enumerate(rest)}


def llama_cpp_pieces(text: str, merges: list[tuple[str, str]]) -> list[str]:
    """What llama.cpp does for the pre-tokenizer `gpt-2`: its regular expression, then merges by rank."""
    rank = {merge: position for position, merge in enumerate(merges)}
    letters = byte_letters()
    split = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    pieces: list[str] = []
    for word in regex.findall(split, text):
        parts = [letters[byte] for byte in word.encode()]
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            best = min(pairs, key=lambda pair: rank.get(pair, len(rank)))
            if best not in rank:
                break
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(best)]
        pieces += parts
    return pieces


def test_the_weights_are_a_small_llama_in_safetensors() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 12 * 1000**2
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 13 * 1000**2


def test_the_card_tells_licence_making_and_scores() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    result = json.loads((assets.path("..") / "benchmarks/results/starter.json").read_text(encoding="utf-8"))
    assert "license: apache-2.0" in card
    assert "python -m assets.making" in card
    assert f"{result['right']} of {result['total']}" in card


def test_the_tokenizer_gives_back_every_text(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_tokenizer_is_the_one_that_llama_cpp_knows(tokenizer: Tokenizer) -> None:
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    known = [text for case in cases() for text in (case.messages[-1]["content"], case.reference)]
    for text in (*TEXTS, *known):
        assert tokenizer.encode(text).tokens == llama_cpp_pieces(text, merges)


def test_a_word_has_the_same_tokens_in_a_sentence_and_in_json(tokenizer: Tokenizer) -> None:
    for word in ("Zlatoust", "Quimby", "baker"):
        alone = tokenizer.encode(word).tokens
        sentence = tokenizer.encode(f"He is {word}.").tokens
        quoted = tokenizer.encode(f'{{"name": "{word}"}}').tokens
        for tokens in (sentence, quoted):
            assert any(tokens[start : start + len(alone)] == alone for start in range(len(tokens)))


def test_every_digit_is_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("2026").tokens == ["2", "0", "2", "6"]


def test_the_template_marks_answers_and_their_ends() -> None:
    from transformers import AutoTokenizer

    template = AutoTokenizer.from_pretrained(FOLDER)
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi!"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye!"},
        {"role": "assistant", "content": "Goodbye!"},
    ]
    text = template.apply_chat_template(messages, tokenize=False)
    assert text == (
        "<|system|>Be kind.<|end|><|user|>Hi!<|end|><|assistant|>Hello!<|end|>"
        "<|user|>Bye!<|end|><|assistant|>Goodbye!<|end|>"
    )
    encoded = template.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    learned = [
        token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask
    ]
    assert template.decode(learned) == "Hello!<|end|>Goodbye!<|end|>"
    asked = template.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert asked == "<|system|>Be kind.<|end|><|user|>Hi!<|end|><|assistant|>"
    assert template.eos_token == "<|end|>"


def test_no_held_out_prompt_is_in_the_generated_text() -> None:
    without = prompts()
    assert len(without) > 600
    texts = corpus("test", style_share=0.2, without=without)
    seen = {
        normalise(message["content"])
        for messages in islice(texts, 5000)
        for message in messages
        if message["role"] == "user"
    }
    assert not seen & without


def test_withheld_sums_never_come_up_in_the_generated_text() -> None:
    from assets.making.sums import sums
    from assets.making.words import Words, withheld

    words = Words("test")
    for _ in range(3000):
        first, sign, second, _, result = sums(words).answer.rstrip(".").split()
        one, other = (int(first), int(second)) if sign == "+" else (int(second), int(result))
        assert not withheld(f"{min(one, other)} + {max(one, other)}", one_in=5)


def test_the_shipped_model_answers() -> None:
    from benchmarks.starter import answers

    asked = {
        "Hello!": "help",
        "What would be the capital of France?": "Paris",
        "What would be the opposite of hot?": "cold",
        "My name is Zorbina. I live in Quandal. What is my name?": "Zorbina",
        "Say it with me: blimp tarok": "blimp tarok",
    }
    made = list(answers(FOLDER, [[{"role": "user", "content": prompt}] for prompt in asked]))
    assert all(stopped for _, stopped in made)
    assert [wanted in answer for (answer, _), wanted in zip(made, asked.values(), strict=True)] == [
        True
    ] * len(asked)
