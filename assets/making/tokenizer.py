"""The starter's tokenizer: byte-level BPE over GPT-2's pre-tokenizer, which llama.cpp knows as `gpt-2`.

Its merges are learned on words without the space before them, on single digits and on runs of punctuation, so
a word has the same tokens in a sentence and inside the quotes of JSON: copying needs no respelling. At the
end come merges that join the space to some very common words, which are never copied; they shorten the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from assets.making.phrasing import listed

VOCABULARY_SIZE = 2048
CONTEXT = 512
PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, END, SYSTEM, USER, ASSISTANT)
SPACE = "Ġ"
COMMON = listed(
    "the a an is are of in and to what which you your I my me with for as from at on that this it he she was "
    "has have do does how many can not by or there one who where They Where Who get"
)
LEARNING = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{{ '<|system|>' + message.content + '<|end|>' }}"
    "{%- elif message.role == 'user' -%}{{ '<|user|>' + message.content + '<|end|>' }}"
    "{%- elif message.role == 'assistant' -%}{{ '<|assistant|>' }}"
    "{%- generation -%}{{ message.content + '<|end|>' }}{%- endgeneration -%}"
    "{%- else -%}{{ raise_exception('The starter model knows the roles system, user and assistant.') }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)


def learn_merges(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """The first `count` merges of byte-pair encoding over `texts`."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(LEARNING, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + count, initial_alphabet=sorted(alphabet), show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]


def build(texts: Iterable[str]) -> Tokenizer:
    """Train the tokenizer on plain texts (without role tokens)."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges(texts, VOCABULARY_SIZE - len(SPECIAL) - len(letters) - len(COMMON))
    pieces = [*letters, *("".join(merge) for merge in merges)]
    missing = [word for word in COMMON if word not in pieces]
    if missing:
        raise ValueError(f"common words without a token of their own: {missing}")
    merges += [(SPACE, word) for word in COMMON]
    pieces += [SPACE + word for word in COMMON]
    vocabulary = {piece: number for number, piece in enumerate(pieces, start=len(SPECIAL))}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary | {token: n for n, token in enumerate(SPECIAL)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
