"""The ladder: what the side network computes from the taps of one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

from studio.train.side.blocks import Block, RmsNorm, Rope, downsampler
from studio.train.side.pointer import Pointer
from studio.train.side.shape import SideShape


class SideNetwork(nn.Module):
    """A side state s: down_0(embeddings) at first, then block_i((1 - b_i) down_i(h_i) + b_i s) for each
    tapped layer's output h_i, with b_i = sigmoid(gate_i), gate_i = 0 at the start.

    The head reads `alpha * h + up(norm(s))`, alpha = 1 and up = 0 at the start: the backbone itself, bit for
    bit, yet `up` learns from the first step on (QST's `alpha h + (1 - alpha) up(s)` gives the side network no
    gradient there). Without `mixed` it reads `up(norm(s))` alone (LST). Pointers, where the shape has any,
    are added: nothing at the start.

    Args:
        shape: The sizes.
        output: The width that the head reads.
        mixed: Whether the backbone's own output stays in.
    """

    def __init__(self, shape: SideShape, output: int, mixed: bool) -> None:
        super().__init__()
        self.shape = shape
        rungs = range(len(shape.taps))
        self.embedding_down = downsampler(shape)
        self.downs = nn.ModuleList(downsampler(shape) for _ in rungs)
        self.blocks = nn.ModuleList(Block(shape) for _ in rungs)
        self.gates = nn.Parameter(torch.zeros(len(shape.taps)))
        self.norm = RmsNorm(shape.width)
        self.up = nn.Linear(shape.width, output, bias=False)
        self.pointer = Pointer(shape) if shape.pointers else None
        self.alpha = nn.Parameter(torch.ones(())) if mixed else None

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw the matrices: unit variance in, unit variance out; what goes back into a residual is smaller
        by the square root of twice the depth."""
        depth = (2 * len(self.blocks)) ** -0.5
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                scale = depth if name.endswith(".out") else 1.0
                module.weight.normal_(0.0, scale * module.in_features**-0.5, generator=generator)
        if self.alpha is not None:
            self.up.weight.zero_()
        if self.pointer is not None:
            self.pointer.gate.weight.zero_()

    def first(self, embeddings: Tensor) -> Tensor:
        """The side state (B, S, W) before the first rung, from what enters the first layer (B, S, H)."""
        return self._working(self.embedding_down(embeddings))

    def rung(
        self, i: int, state: Tensor, tap: Tensor, by: Rope, mask: Tensor | None, cache: DynamicLayer | None
    ) -> Tensor:
        """The side state after rung i; `tap` (B, S, H) is the output of the i-th tapped layer."""
        narrow = self._working(self.downs[i](tap))
        keep = self.gates[i].sigmoid().to(narrow.dtype)
        out: Tensor = self.blocks[i](torch.lerp(narrow, state, keep), by, mask, cache)
        return out

    def output(
        self,
        state: Tensor,
        hidden: Tensor,
        tokens: Tensor | None,
        table: Tensor,
        mask: Tensor | None,
        cache: DynamicLayer | None,
    ) -> Tensor:
        """What the head reads (B, S, output); `hidden` is the backbone's own final state. Pointers want the
        tokens' ids (B, S) and the head's `table` (V, output); `mask` and `cache` are those of a rung."""
        state = self.norm(state)
        side: Tensor = self.up(state).to(hidden.dtype)
        if self.pointer is not None:
            side = side + self.pointer(state, tokens, table, mask, cache).to(hidden.dtype)
        return side if self.alpha is None else self.alpha.to(hidden.dtype) * hidden + side

    def _working(self, narrow: Tensor) -> Tensor:
        """In the dtype that the blocks compute in: autocast's, else that of their weights."""
        kind = narrow.device.type
        if torch.is_autocast_enabled(kind):
            return narrow.to(torch.get_autocast_dtype(kind))
        return narrow.to(self.up.weight.dtype)
