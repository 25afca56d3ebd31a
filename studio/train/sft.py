"""The loss of learning from examples: cross-entropy over the learned tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from studio.train.objective import Example, Loss, Models, learned_tokens, pad
from studio.train.tuner import Batch


class SftLoss(Loss):
    """Negative log-likelihood of the learned tokens, each times the weight of its stream."""

    def collate(self, examples: Sequence[Example], pad_id: int) -> Batch:
        streams = [e.streams["text"] for e in examples]
        weights = [e.weights["text"] for e in examples]
        return {
            "text": pad(streams, pad_id),
            "weights": torch.tensor(weights),
            "count": sum(w * learned_tokens(s) for w, s in zip(weights, streams, strict=True)),
        }

    def loss(self, forward: Models, batch: Batch) -> tuple[Tensor, Tensor | float, dict[str, Tensor]]:
        losses = forward.policy(batch["text"])
        total = (losses.tokens * batch["weights"][losses.rows]).sum()
        if losses.auxiliary is not None:
            total = total + losses.auxiliary * batch["count"]
        return total, batch["count"], {}
