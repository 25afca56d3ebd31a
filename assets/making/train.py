"""Training of the starter: Muon on the blocks' matrices, AdamW on embeddings and norms, a cosine schedule.

Muon: K. Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks". Counted in steps,
never in seconds, so that a seed gives the same weights on one machine and torch version.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from assets.making.llama import Llama, rotation
from assets.making.packing import Rows


@dataclass(frozen=True)
class Phase:
    """`steps` batches of `batch` rows out of `rows`."""

    name: str
    rows: Rows
    batch: int
    steps: int


@dataclass(frozen=True)
class Schedule:
    """Learning rates at their height, warm-up in steps, and the share of them that is left at the end."""

    muon: float = 0.012
    adam: float = 3e-3
    warmup: int = 80
    floor: float = 0.03
    clip: float = 1.0

    def factor(self, step: int, steps: int) -> float:
        """Linear warm-up, then a cosine down to `floor`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, steps - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


def orthogonalise(update: Tensor) -> Tensor:
    """Five Newton-Schulz steps towards the nearest orthogonal matrices of a stack (N, R, C), in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum, then the orthogonal factor of the update; matrices of one shape form one stack."""

    def __init__(self, weights: Iterable[Tensor], momentum: float = 0.95) -> None:
        self.momentum = momentum
        self.groups: dict[torch.Size, list[Tensor]] = {}
        for weight in weights:
            self.groups.setdefault(weight.shape, []).append(weight)
        self.velocity = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move all weights against their gradients (Nesterov), each matrix by the same root mean square."""
        for shape, group in self.groups.items():
            gradient = torch.stack([weight.grad for weight in group])
            velocity = self.velocity[shape].mul_(self.momentum).add_(gradient)
            update = orthogonalise(gradient.add(velocity, alpha=self.momentum))
            scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for weight, change in zip(group, update, strict=True):
                weight.sub_(change, alpha=scale)


def batch_of(rows: Rows, chosen: numpy.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """The chosen rows as tensors."""
    return (
        torch.from_numpy(rows.tokens[chosen]),
        torch.from_numpy(rows.weights[chosen]),
        torch.from_numpy(rows.owner[chosen]),
    )


def train(
    model: Llama,
    phases: list[Phase],
    schedule: Schedule,
    *,
    random_rows: Tensor,
    random_steps: int,
    compiled: bool,
) -> list[dict[str, float]]:
    """Train through all phases; returns what was logged every 25 steps.

    For the first `random_steps` steps 8 rows of each batch are replaced by rows of `random_rows`.
    """
    matrices = [
        weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name
    ]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=schedule.adam, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    loss_of = torch.compile(model.loss, dynamic=False) if compiled else model.loss
    steps = sum(phase.steps for phase in phases)
    step, tokens_seen, log, started = 0, 0, [], time.perf_counter()
    for phase in phases:
        cos, sin = rotation(model.shape, phase.rows.tokens.shape[1] - 1)
        for index in range(phase.steps):
            chosen = numpy.arange(index * phase.batch, (index + 1) * phase.batch) % len(phase.rows.tokens)
            tokens, weights, owner = batch_of(phase.rows, chosen)
            if step < random_steps:
                first = step * 8 % (len(random_rows) - 8)
                tokens[:8], weights[:8], owner[:8] = random_rows[first : first + 8], 0.3, 1
            factor = schedule.factor(step, steps)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(tokens, weights, owner, cos, sin)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
            for group in adam.param_groups:
                group["lr"] = schedule.adam * factor
            adam.step()
            muon.step(schedule.muon * factor)
            model.zero_grad(set_to_none=True)
            step, tokens_seen = step + 1, tokens_seen + tokens.numel()
            if step % 25 == 0 or step == steps:
                seconds = time.perf_counter() - started
                log.append(
                    {
                        "step": step,
                        "loss": loss.item(),
                        "tokens": tokens_seen,
                        "seconds": seconds,
                    }
                )
                sys.stderr.write(f"{phase.name} {step}/{steps} {log[-1]}\n")
    return log
