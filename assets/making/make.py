"""All steps from nothing to the files of the starter model, in three stages."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from assets.making import tokenizer as tokens
from assets.making.corpus import Conversation, corpus, random_repeats
from assets.making.heldout import prompts
from assets.making.llama import Llama, Shape
from assets.making.packing import encode_all, pack, pad_id
from assets.making.train import Phase, Schedule, train

TOKENIZER_CONVERSATIONS = 40_000
BATCH_TOKENS = 8192
RANDOM_STEPS = 400


@dataclass(frozen=True)
class Stage:
    """A part of the training with a schedule of its own, which starts from saved weights (in bf16).

    A phase is a name, a row length, steps, and the share of conversations in a named answer style.
    """

    name: str
    phases: tuple[tuple[str, int, int, float], ...]
    schedule: Schedule
    first: bool = False
    wide: bool = False
    opened: bool = False


STAGES = (
    Stage(
        "skills",
        (("base", 128, 1100, 0.08), ("style", 128, 280, 0.5), ("long", 256, 320, 0.35)),
        Schedule(),
        first=True,
    ),
    Stage("wordings", (("wide", 128, 560, 0.2),), Schedule(muon=0.006, adam=1.5e-3, warmup=20), wide=True),
    Stage(
        "openings",
        (("opened", 128, 160, 0.2),),
        Schedule(muon=0.003, adam=7.5e-4, warmup=10),
        wide=True,
        opened=True,
    ),
)


def texts_of(conversations: Iterator[Conversation]) -> Iterator[str]:
    """The plain text of every message."""
    return (message["content"] for messages in conversations for message in messages)


def letter_pieces(tokenizer: Tokenizer) -> list[str]:
    """Tokens that are letters only; invented words are also made from them, so that each gets copied."""
    return sorted(
        piece for piece in tokenizer.get_vocab() if len(piece) > 1 and piece.isascii() and piece.isalpha()
    )


def prepare(tokenizer: Tokenizer, stage: Stage, seed: int, scale: float) -> list[Phase]:
    """Generate and pack the rows of all phases of a stage; rows hold one token more than their inputs."""
    without, pieces, phases = prompts(), letter_pieces(tokenizer), []
    for name, length, full_steps, style_share in stage.phases:
        steps, batch = max(1, round(full_steps * scale)), BATCH_TOKENS // length
        texts = corpus(
            f"{name} {seed}",
            style_share=style_share,
            pieces=pieces,
            without=without,
            wide=stage.wide,
            opened=stage.opened,
        )
        rows = pack(encode_all(tokenizer, texts), pad_id(tokenizer), length + 1, steps * batch)
        phases.append(Phase(name, rows, batch, steps))
        sys.stderr.write(f"{name}: {rows.tokens.shape} rows, {(rows.owner > 0).mean():.3f} filled\n")
    return phases


def save_model(model: Llama, folder: Path) -> None:
    """Weights in bf16, configuration, generation defaults."""
    weights = {name: weight.detach().bfloat16().contiguous() for name, weight in model.named_parameters()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(model.shape.config(), indent=2) + "\n", encoding="utf-8")
    generation = {"do_sample": False, "eos_token_id": 1, "pad_token_id": 0, "max_new_tokens": 160}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def make_tokenizer(folder: Path, seed: int) -> None:
    """Learn the tokenizer and write its files."""
    plain = corpus(f"tokenizer {seed}", style_share=0.15, without=prompts())
    tokens.save(tokens.build(texts_of(islice(plain, TOKENIZER_CONVERSATIONS))), folder)


def make(folder: Path, *, stage: Stage, seed: int, scale: float, compiled: bool) -> dict[str, Any]:
    """Train one stage, from the weights that the stage before it left in `folder`; returns its record."""
    torch.manual_seed(seed)
    started, cpu_started = time.perf_counter(), time.process_time()
    if stage.first:
        make_tokenizer(folder, seed)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    phases = prepare(tokenizer, stage, seed, scale)
    vocabulary = range(len(tokens.SPECIAL), tokens.VOCABULARY_SIZE)
    length = stage.phases[0][1] + 1
    random_rows = torch.tensor(random_repeats(f"random {seed}", 2000, vocabulary, length))
    prepared = time.perf_counter() - started
    model = Llama(Shape())
    if not stage.first:
        model.load_state_dict(load_file(str(folder / "model.safetensors")))
    compiled = compiled and shutil.which("g++") is not None
    random_steps = round(RANDOM_STEPS * min(1, scale)) if stage.first else 0
    log = train(
        model, phases, stage.schedule, random_rows=random_rows, random_steps=random_steps, compiled=compiled
    )
    save_model(model, folder)
    return {
        "stage": stage.name,
        "seed": seed,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "compiled": compiled,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "preparing_seconds": prepared,
        "cpu_seconds": time.process_time() - cpu_started,
        "log": log,
    }
