"""A toy objective with two streams and a reference: prefer one answer over the other (DPO, arXiv
2305.18290)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from studio.data.rows import Message, Row, Stream
from studio.objectives import Objective
from studio.params import param
from studio.train.objective import Example, Forward, Loss, Models, pad
from studio.train.tuner import Batch


@dataclass(frozen=True)
class PairParams:
    beta: float = param(0.5, "How strongly the tuned model is held at the base.", low=0, high=10)


class PairLoss(Loss):
    """-log sigmoid(beta * (margin of the policy - margin of the reference)), one term per pair."""

    def collate(self, examples: Sequence[Example], pad_id: int) -> Batch:
        names = ("chosen", "rejected")
        return {n: pad([e.streams[n] for e in examples], pad_id) for n in names} | {"count": len(examples)}

    def loss(self, forward: Models, batch: Batch) -> tuple[Tensor, Tensor | float, dict[str, Tensor]]:
        assert forward.reference is not None
        gain = _margin(forward.policy, batch) - _margin(forward.reference, batch)
        return -F.logsigmoid(self.params.beta * gain).sum(), batch["count"], {"preferred": (gain > 0).sum()}


def _margin(model: Forward, batch: Batch) -> Tensor:
    """(B,) log-likelihood of the chosen answer minus that of the rejected one."""
    sums = []
    for name in ("chosen", "rejected"):
        losses = model(batch[name])
        sums.append(torch.zeros(batch["count"]).index_add(0, losses.rows, -losses.tokens))
    return sums[0] - sums[1]


PAIR = Objective(
    id="toy_pair",
    title="Toy pairs",
    summary="Prefers one answer.",
    params=PairParams,
    torch="tests.toys.objectives:PairLoss",
    streams=("chosen", "rejected"),
    models=("policy", "reference"),
)


def pairs(n: int) -> list[Row]:
    """Rows that prefer yes over no."""

    def stream(i: int, answer: str) -> Stream:
        return Stream((Message.of("user", f"{i}?"), Message.of("assistant", answer)), (False, True))

    return [
        Row(str(i), {"chosen": stream(i, "yes"), "rejected": stream(i, "no, no")}, {}, f"test:{i}")
        for i in range(n)
    ]
