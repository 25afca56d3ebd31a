"""Whether an exported folder answers as the studio does: logits and greedy answers on the same prompts.

The studio's side is its own decode loop over the model as it answers in the playground; the other side is
what was written, loaded as other programs load it, and transformers' own `generate`.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from studio.export.subject import Subject, Writer
from studio.generate.decode import generate
from studio.generate.request import Request
from studio.merge import POSITIONS, PROMPTS
from studio.merge.verify import agreement, causal_model, last_logits

ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Parity:
    """How far the logits of `prompts` prompts with their answers are apart (see
    `studio.merge.verify.Agreement`), and how many of the answers, up to 32 tokens each, are the same.
    `passed` is about the logits: where two tokens are all but equally likely, a rounding may choose."""

    max_difference: float
    mean_difference: float
    largest: float
    bound: float
    passed: bool
    prompts: int
    same_answers: int


def measure(subject: Subject, writer: Writer, folder: Path, prompts: Sequence[Sequence[int]]) -> Parity:
    """Compare `folder`, which `writer` filled, with the studio on prompts (token ids). One model is in memory
    at a time."""
    asked, stop = prompts[:PROMPTS], subject.renderer.stop_ids
    model, tuner = subject.load()
    answers = own_answers(model, asked, stop)
    texts = [[*prompt, *answer] for prompt, answer in zip(asked, answers, strict=True)]
    ours = last_logits(model, tuner, texts)
    del model, tuner
    gc.collect()
    written = writer.open(folder)
    theirs = [_logits(written, text) for text in texts]
    repeated = [_answer(written, prompt, stop, subject.renderer.pad_id) for prompt in asked]
    del written
    gc.collect()
    found = agreement(ours, theirs, writer.allowed(folder))
    return Parity(
        found.max_difference,
        found.mean_difference,
        found.largest,
        cast(float, found.bound),
        bool(found.passed),
        len(asked),
        sum(mine == other for mine, other in zip(answers, repeated, strict=True)),
    )


def own_answers(model: nn.Module, prompts: Sequence[Sequence[int]], stop: frozenset[int]) -> list[list[int]]:
    """Greedy answers by the studio's decode loop, token ids without the one that ends each."""
    requests = [Request(tuple(prompt), stop_ids=stop, max_tokens=ANSWER_TOKENS) for prompt in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    for token in generate(causal_model(model), requests):
        if token.error is not None:
            raise token.error
        if token.id is not None and token.finish != "stop":
            answers[token.row].append(token.id)
    return answers


@torch.no_grad()
def _logits(model: Any, text: Sequence[int]) -> Tensor:
    """Logits (positions, vocabulary) in 32 bit at the end of a text."""
    logits: Tensor = model(input_ids=torch.tensor([list(text)])).logits
    return logits[0, -POSITIONS:].float()


@torch.no_grad()
def _answer(model: Any, prompt: Sequence[int], stop: frozenset[int], pad: int) -> list[int]:
    given = torch.tensor([list(prompt)])
    said = model.generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        eos_token_id=sorted(stop) or None,
        pad_token_id=pad,
    )
    answer: list[int] = said[0, given.shape[1] :].tolist()
    return answer[:-1] if answer and answer[-1] in stop else answer
