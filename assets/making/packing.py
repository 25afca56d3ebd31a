"""Conversations as rows of tokens: encoded, weighted, packed whole into rows of one length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy
from tokenizers import Tokenizer

from assets.making.corpus import Conversation
from assets.making.tokenizer import ASSISTANT, END, PAD, SYSTEM, USER

PROMPT_WEIGHT = 0.1
# What follows the sign of equality in an answer is a calculation: a few tokens that carry a whole skill.
RESULT_WEIGHT = 3.0
EQUALS = "Ġ="
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
Encoded = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Rows:
    """Rows of one length: tokens, their weight as targets, and the number of their conversation."""

    tokens: numpy.ndarray  # (N, T) int64
    weights: numpy.ndarray  # (N, T) float32
    owner: numpy.ndarray  # (N, T) int16, 0 where padded


def encode_all(
    tokenizer: Tokenizer, conversations: Iterable[Conversation], batch: int = 2000
) -> Iterator[Encoded]:
    """Tokens and target weights of each conversation: answers and their ends count 1, prompts less."""
    end, equals = tokenizer.token_to_id(END), tokenizer.token_to_id(EQUALS)
    role = {name: tokenizer.token_to_id(token) for name, token in ROLES.items()}
    held: list[Conversation] = []

    def flush() -> Iterator[Encoded]:
        texts = [message["content"] for messages in held for message in messages]
        encodings = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for messages in held:
            tokens: list[int] = []
            weights: list[float] = []
            for message in messages:
                ids = next(encodings).ids
                answer = message["role"] == "assistant"
                tokens += [role[message["role"]], *ids, end]
                weight = [1.0 if answer else PROMPT_WEIGHT] * (len(ids) + 1)
                if answer and equals in ids:
                    first = ids.index(equals) + 1
                    weight[first:-1] = [RESULT_WEIGHT] * (len(ids) - first)
                weights += [0.0, *weight]
            yield tokens, weights
        held.clear()

    for messages in conversations:
        held.append(messages)
        if len(held) == batch:
            yield from flush()
    yield from flush()


def pack(encoded: Iterable[Encoded], pad: int, length: int, count: int, open_rows: int = 64) -> Rows:
    """`count` rows of `length` tokens, each conversation whole in the fullest open row that has room for it.

    Conversations longer than a row are left out.
    """
    tokens = numpy.full((count, length), pad, dtype=numpy.int64)
    weights = numpy.zeros((count, length), dtype=numpy.float32)
    owner = numpy.zeros((count, length), dtype=numpy.int16)
    used = numpy.zeros(count, dtype=numpy.int64)
    number = numpy.zeros(count, dtype=numpy.int64)
    opened = list(range(min(open_rows, count)))
    following = len(opened)
    for ids, weight in encoded:
        size = len(ids)
        fitting = [row for row in opened if used[row] + size <= length]
        if not fitting:
            if size > length:
                continue
            fullest = max(opened, key=lambda row: used[row])
            opened.remove(fullest)
            if following == count:
                break
            opened.append(following)
            fitting = [following]
            following += 1
        row = max(fitting, key=lambda candidate: used[candidate])
        start = used[row]
        number[row] += 1
        tokens[row, start : start + size] = ids
        weights[row, start : start + size] = weight
        owner[row, start : start + size] = number[row]
        used[row] += size
    return Rows(tokens, weights, owner)


def pad_id(tokenizer: Tokenizer) -> int:
    """The number of the padding token."""
    return tokenizer.token_to_id(PAD)
