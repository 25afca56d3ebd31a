"""All steps from nothing to the files of the starter model."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from assets.making import tokenizer as tokens
from assets.making.corpus import Conversation, corpus, random_repeats
from assets.making.heldout import prompts
from assets.making.llama import Llama, Shape
from assets.making.packing import Rows, encode_all, pack, pad_id
from assets.making.train import Phase, Schedule, train

TOKENIZER_CONVERSATIONS = 40_000
BATCH_TOKENS = 8192
# name, row length, steps, share of conversations in a named answer style
PHASES = (("base", 128, 1100, 0.08), ("style", 128, 280, 0.5), ("long", 256, 320, 0.35))
RANDOM_STEPS = 400


def texts_of(conversations: Iterator[Conversation]) -> Iterator[str]:
    """The plain text of every message."""
    return (message["content"] for messages in conversations for message in messages)


def letter_pieces(tokenizer: Tokenizer) -> list[str]:
    """Tokens that are letters only; invented words are also made from them, so that each gets copied."""
    return sorted(
        piece for piece in tokenizer.get_vocab() if len(piece) > 1 and piece.isascii() and piece.isalpha()
    )


def rows_for(
    tokenizer: Tokenizer, seed: str, length: int, count: int, style_share: float, without: frozenset[str]
) -> Rows:
    """`count` packed rows of `length` + 1 tokens (inputs and targets overlap)."""
    conversations = corpus(seed, style_share=style_share, pieces=letter_pieces(tokenizer), without=without)
    return pack(encode_all(tokenizer, conversations), pad_id(tokenizer), length + 1, count)


def save_model(model: Llama, folder: Path) -> None:
    """Weights in bf16, configuration, generation defaults."""
    weights = {name: weight.detach().bfloat16().contiguous() for name, weight in model.named_parameters()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(model.shape.config(), indent=2) + "\n", encoding="utf-8")
    generation = {"do_sample": False, "eos_token_id": 1, "pad_token_id": 0, "max_new_tokens": 160}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def make(folder: Path, *, seed: int, scale: float, compiled: bool) -> dict[str, Any]:
    """Make everything into `folder`; returns the record of the training."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    without = prompts()
    plain = corpus(f"tokenizer {seed}", style_share=0.15, without=without)
    tokenizer = tokens.build(texts_of(islice(plain, TOKENIZER_CONVERSATIONS)))
    tokens.save(tokenizer, folder)
    phases = []
    for name, length, full_steps, style_share in PHASES:
        steps = max(1, round(full_steps * scale))
        batch = BATCH_TOKENS // length
        rows = rows_for(tokenizer, f"{name} {seed}", length, steps * batch, style_share, without)
        phases.append(Phase(name, rows, batch, steps))
        sys.stderr.write(f"{name}: {rows.tokens.shape} rows, {(rows.owner > 0).mean():.3f} filled\n")
    length = PHASES[0][1] + 1
    vocabulary = range(len(tokens.SPECIAL), tokens.VOCABULARY_SIZE)
    random_rows = torch.tensor(random_repeats(f"random {seed}", 2000, vocabulary, length))
    prepared = time.perf_counter() - started
    model = Llama(Shape())
    compiled = compiled and shutil.which("g++") is not None
    log = train(
        model,
        phases,
        Schedule(),
        random_rows=random_rows,
        random_steps=round(RANDOM_STEPS * min(1, scale)),
        compiled=compiled,
    )
    save_model(model, folder)
    return {
        "seed": seed,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "compiled": compiled,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "preparing_seconds": prepared,
        "log": log,
    }
