"""Sizes of a side network, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

REDUCTION = 16
# Below this width a side network has too few numbers to carry anything.
LEAST_WIDTH = 64
HEAD_DIM = 64
POINTER_DIM = 32
STRETCH = 256  # positions whose pointers look at a time
_STEP = 16  # widths are multiples of it, so that heads and kernels divide evenly


class SideParams(Protocol):
    """What a method's params say of the size."""

    @property
    def reduction(self) -> int | None: ...
    @property
    def downsampler(self) -> str: ...
    @property
    def down_rank(self) -> int: ...
    @property
    def skip_every(self) -> int: ...
    @property
    def tap_bits(self) -> str: ...
    @property
    def output(self) -> str: ...
    @property
    def pointers(self) -> int: ...


@dataclass(frozen=True)
class SideShape:
    """`taps` are the indices of the decoder layers that are read; the embeddings are read always."""

    hidden: int
    width: int
    heads: int
    inner: int
    taps: tuple[int, ...]
    downsampler: str
    rank: int
    tap_bits: int = 16
    pointers: int = 0

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def pointed(self) -> int:
        """Width of the queries and keys of all pointers together."""
        return self.pointers * POINTER_DIM

    def trainable(self, output: int, mixed: bool) -> tuple[tuple[int, ...], ...]:
        """Shapes of all trained tensors; `output` is the width that the head reads."""
        down = {
            "adapter": [(self.rank, self.hidden), (self.width, self.rank)],
            "linear": [(self.width, self.hidden)],
        }.get(self.downsampler, [])
        attention = [(self.width, self.width)] * 4
        mlp = [(self.inner, self.width)] * 2 + [(self.width, self.inner)]
        layer = [*down, *attention, *mlp, (self.width,), (self.width,)]
        last = [(len(self.taps),), (self.width,), (output, self.width)]
        pointing = [(self.pointed, self.width)] * 2 + [(self.pointers, self.width)] if self.pointers else []
        return (*down, *layer * len(self.taps), *last, *pointing, *([()] if mixed else []))


def automatic_reduction(hidden: int) -> int:
    """16, and less on a model so narrow that the side network would be under 64 wide."""
    return max(1, min(REDUCTION, hidden // LEAST_WIDTH))


def side_shape(hidden: int, layers: int, params: SideParams) -> SideShape:
    """The side network for a model of this width and depth."""
    reduction = params.reduction or automatic_reduction(hidden)
    width = _round_up(-(-hidden // reduction))
    skip = params.skip_every
    return SideShape(
        hidden=hidden,
        width=width,
        heads=_heads(width),
        inner=_round_up(-(-8 * width // 3)),  # as wide, in parameters, as an ungated one of 4 widths
        taps=tuple(i for i in range(layers) if not skip or i % skip),
        downsampler=params.downsampler,
        rank=params.down_rank,
        tap_bits=int(params.tap_bits),
        pointers=params.pointers if params.output == "mix" else 0,
    )


def _heads(width: int) -> int:
    """Heads of about 64, two at least, with an even number of entries (rotary positions pair them)."""
    wanted = max(2, width // HEAD_DIM)
    return next(heads for heads in range(wanted, 0, -1) if width % (2 * heads) == 0)


def _round_up(number: int) -> int:
    return -(-number // _STEP) * _STEP
