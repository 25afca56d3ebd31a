"""The base pane is the base: the starter as the engine holds it against plain transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import assets
from backend.chat.base import load_base
from backend.home import open_home
from studio.data.read import read_dataset
from studio.data.render import Renderer
from studio.generate.decode import generate
from studio.generate.request import BASE, Request

PROMPTS_PER_SAMPLE = 2
TOKENS = 40


def prompts(renderer: Renderer) -> list[tuple[int, ...]]:
    """Held-out prompts of every sample."""
    found: list[tuple[int, ...]] = []
    for sample in ("pirate", "json", "support"):
        heldout = read_dataset(assets.path("samples", sample)).heldout
        assert heldout is not None
        for row in heldout[:PROMPTS_PER_SAMPLE]:
            found.append(tuple(renderer.encode_prompt(row.streams["text"].messages[:-1])))
    return found


def make_adapter(folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(assets.path("starter"))
    torch.manual_seed(1)
    config = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def test_greedy_tokens_of_the_base_equal_plain_transformers(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))  # loading chooses the device for the whole process
    starter = assets.path("starter")
    loaded = load_base(starter, open_home(home), wanted="cpu")
    plain: Any = AutoModelForCausalLM.from_pretrained(starter).eval()
    questions = prompts(loaded.renderer)
    stop_ids = loaded.renderer.stop_ids
    expected = []
    for ids in questions:
        out = plain.generate(
            torch.tensor([ids]), max_new_tokens=60, do_sample=False, eos_token_id=list(stop_ids)
        )
        expected.append(out[0, len(ids) :].tolist())
    assert any(answer[-1] in stop_ids for answer in expected)

    def answers(adapters: list[str]) -> list[list[list[int | None]]]:
        """Greedy answers to all questions; those of the adapters side by side in one batch."""
        made = []
        for ids in questions:
            requests = [Request(ids, stop_ids=stop_ids, max_tokens=TOKENS, adapter=name) for name in adapters]
            rows: list[list[int | None]] = [[] for _ in requests]
            for token in generate(loaded.decoder.model, requests, loaded.adapters):
                rows[token.row].append(token.id)
            made.append(rows)
        return made

    assert [rows[0] for rows in answers([BASE])] == expected
    tuned = loaded.adapters.require(make_adapter(tmp_path / "adapter"))
    side_by_side = answers([tuned, BASE])
    assert [rows[1] for rows in side_by_side] == expected
    assert [rows[0] for rows in side_by_side] != expected
