"""Looking at what a method made of a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studio.generate.decode import Decoder
from studio.generate.request import Request
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.plan import Plan, methods
from studio.train.tuner import Tuner


def untouched(plan: Plan, folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The base as the plan's method holds it."""
    quantisation = methods.get(plan.method).base_quantisation(plan.method_params)
    return load_model(folder, dtype=dtype, device="cpu", quantisation=quantisation)


def root(model: nn.Module) -> nn.Module:
    """The model as transformers made it, inside of what a method wrapped around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


@torch.no_grad()
def logits(model: nn.Module, tuner: Tuner) -> Tensor:
    """Logits of a tuned tiny model for a fixed text."""
    anatomy, ids = Anatomy(root(model)), torch.arange(4, 44)[None]
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return anatomy.logits(tuner.hidden(anatomy, batch).states)


def greedy(decoders: list[tuple[Decoder, str]], prompts: list[Tensor], count: int) -> list[list[int]]:
    """Answers of all decoders, decoded in turns; each prompt goes to the decoder and adapter beside it."""
    answers: dict[tuple[Decoder, int], list[int]] = {}
    for (decoder, adapter), ids in zip(decoders, prompts, strict=True):
        row = decoder.add(Request(tuple(ids[0].tolist()), max_tokens=count, adapter=adapter))
        answers[decoder, row] = []
    while any(decoder.busy for decoder, _ in decoders):
        for decoder in dict.fromkeys(decoder for decoder, _ in decoders):
            for token in decoder.step():
                assert token.id is not None
                answers[decoder, token.row].append(token.id)
    return list(answers.values())
