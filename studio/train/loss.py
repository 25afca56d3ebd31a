"""Cross-entropy over the labelled positions only: logits are never made for a position that is not learned.

The hidden states of labelled positions are picked out first, then turned into logits chunk by chunk. In
evaluation only one chunk's logits live at a time; in training each chunk's logits are made again in the
backward pass once there is more than one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from studio.models.anatomy import Anatomy, Hidden

IGNORED = -100
CHUNK_BYTES = 256 * 2**20  # of fp32 logits that may live at a time


@dataclass(frozen=True)
class Losses:
    """Negative log-likelihoods of the labelled tokens.

    `tokens` (N,) fp32, one per labelled position, `rows` (N,) the row of the batch each belongs to,
    `auxiliary` what the model's own routers add (a mean), or None.
    """

    tokens: Tensor
    rows: Tensor
    auxiliary: Tensor | None


def token_losses(anatomy: Anatomy, hidden: Hidden, batch: dict[str, Any], kernel: str = "labelled") -> Losses:
    """The loss of each labelled token of `batch` (`labels` (B, S), IGNORED where nothing is learned).

    The token at position t is predicted from the hidden state at t - 1, so a label at position 0 counts for
    nothing. `kernel`: `labelled` (labelled positions, in chunks), `chunked` (all positions, in chunks),
    `full` (all at once).
    """
    labels: Tensor = batch["labels"]
    width = labels.shape[1]
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten()  # (B * S,), the token after each position
    states = hidden.states.flatten(0, 1)  # (B * S, H)
    kept = torch.nonzero(targets != IGNORED).squeeze(1)
    if kernel == "labelled":
        tokens = _in_chunks(anatomy, states.index_select(0, kept), targets.index_select(0, kept))
    elif kernel == "chunked":
        tokens = _in_chunks(anatomy, states, targets).index_select(0, kept)
    else:
        tokens = _cross_entropy(anatomy, states, targets).index_select(0, kept)
    auxiliary = anatomy.auxiliary_loss(hidden, batch.get("attention_mask"))
    return Losses(tokens, kept // width, auxiliary)


def _cross_entropy(anatomy: Anatomy, states: Tensor, targets: Tensor) -> Tensor:
    logits = anatomy.logits(states).float()
    return F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)


def _in_chunks(anatomy: Anatomy, states: Tensor, targets: Tensor) -> Tensor:
    """`_cross_entropy` over positions (N, H), at most CHUNK_BYTES of logits at a time."""
    size = max(1, CHUNK_BYTES // (4 * anatomy.config.vocab_size))
    if states.shape[0] <= size:
        return _cross_entropy(anatomy, states, targets)
    chunks = zip(torch.split(states, size), torch.split(targets, size), strict=True)
    parts = [
        checkpoint(_cross_entropy, anatomy, some, wanted, use_reentrant=False, preserve_rng_state=False)
        for some, wanted in chunks
    ]
    return torch.cat(parts)
