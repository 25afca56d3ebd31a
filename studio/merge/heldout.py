"""What combining adapters does to the held-out loss of each: every row under the base, each adapter, the mix.

All of them are rows of one batch over one copy of the base, so a held-out row is read once for all. A run
that trained the weights themselves is measured in three passes over one copy: the base, weights in between,
the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from studio.data.render import Encoded
from studio.generate.adapters import AdapterPool
from studio.generate.request import BASE
from studio.merge.adapter import PeftForm
from studio.models.anatomy import Anatomy
from studio.train.loss import token_losses
from studio.train.objective import pad
from studio.train.tuner import Tuner

BARE, MIX = "base", "mix"
Told = Callable[[float], None]


@torch.no_grad()
def heldout_losses(
    model: Any,
    adapters: Mapping[str, Path],
    mix: PeftForm,
    rows: Sequence[Encoded],
    progress: Told = lambda _: None,
) -> dict[str, float]:
    """Mean loss per learned token of `rows` by who answers: `base`, each of `adapters` (folders by name),
    `mix`.

    `model` is the base in eval mode on its device; its layers are wrapped. `progress` is told the share that
    is done, and may raise to end the work.
    """
    pool = AdapterPool(model, limit=len(adapters) + 1)
    names = {name: pool.require(folder) for name, folder in adapters.items()}
    who = {BARE: BASE, **names, MIX: pool.require_made(MIX, lambda: mix)}
    pool.select(list(who.values()))
    anatomy = Anatomy(model)
    device = next(model.parameters()).device
    totals, count = torch.zeros(len(who), dtype=torch.float64), 0
    for done, row in enumerate(rows):
        progress(done / len(rows))
        batch = {name: tensor.to(device) for name, tensor in pad([row] * len(who), 0).items()}
        losses = token_losses(anatomy, anatomy.hidden(batch["input_ids"], batch["attention_mask"]), batch)
        totals.index_add_(0, losses.rows.cpu(), losses.tokens.double().cpu())
        count += len(losses.tokens) // len(who)
    return {name: float(total) / count for name, total in zip(who, totals, strict=True)}


@torch.no_grad()
def interpolated_losses(
    model: Any,
    tuner: Tuner,
    run: tuple[str, Path, float],
    rows: Sequence[Encoded],
    progress: Told = lambda _: None,
) -> dict[str, float]:
    """The same for a run (its name, the folder of what it saved, the weight of the mix) that trained the
    base's own weights. `model` is the base; its weights become the run's."""
    name, folder, weight = run
    weights = dict(model.named_parameters())
    losses: dict[str, float] = {}
    for who, share in ((BARE, 0.0), (MIX, weight), (name, 1.0)):
        if who != BARE:
            # In place: each weight is read before it is replaced, and at 1 the base's are not read.
            tuner.interpolate(model, folder, share, weights)

        def told(done: float, before: int = len(losses)) -> None:
            progress((before + done) / 3)

        losses[who] = _loss(model, rows, told)
    return {who: losses[who] for who in (BARE, name, MIX)}


def _loss(model: Any, rows: Sequence[Encoded], progress: Told) -> float:
    """Mean loss per learned token."""
    anatomy, device = Anatomy(model), next(model.parameters()).device
    total, count = 0.0, 0
    for done, row in enumerate(rows):
        progress(done / len(rows))
        batch = {name: tensor.to(device) for name, tensor in pad([row], 0).items()}
        losses = token_losses(anatomy, anatomy.hidden(batch["input_ids"], batch["attention_mask"]), batch)
        total += float(losses.tokens.double().sum())
        count += len(losses.tokens)
    return total / count
