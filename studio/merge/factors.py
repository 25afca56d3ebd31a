"""A change of a weight matrix as a product of two thin ones, and the nearest such product of a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.train.svd import leading

# Singular values this far below the largest are rounding of 32-bit arithmetic.
_NOTHING = 1e-6


@dataclass(frozen=True)
class Factors:
    """The change b @ a of a weight (outputs, inputs): `a` (rank, inputs), `b` (outputs, rank), both in 32 bit
    and with any scale inside."""

    a: Tensor
    b: Tensor

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    def whole(self) -> Tensor:
        """The change itself (outputs, inputs)."""
        return self.b @ self.a

    def squared(self) -> float:
        """Squared Frobenius norm of the change, without making it whole."""
        return float(((self.b.T @ self.b) * (self.a @ self.a.T)).sum())

    def scaled(self, weight: float) -> Factors:
        """`weight` times the change, shared by both factors so that neither grows out of proportion."""
        root = abs(weight) ** 0.5
        return Factors(root * self.a, root * self.b if weight >= 0 else -root * self.b)


@dataclass(frozen=True)
class Truncated:
    """A change cut to a rank. Squared Frobenius norms: of all that was wanted, and of what was cut off."""

    factors: Factors
    wanted: float
    lost: float


def concatenated(parts: Sequence[Factors]) -> Factors:
    """The sum of the changes, at the sum of their ranks."""
    return Factors(torch.cat([part.a for part in parts]), torch.cat([part.b for part in parts], dim=1))


def truncated(change: Factors | Tensor, rank: int | None) -> Truncated:
    """The nearest product of at most `rank` directions; factors as they are where it is None."""
    if isinstance(change, Tensor):
        count = min(change.shape) if rank is None else min(rank, *change.shape)
        u, s, v = leading(change, count)
        wanted = float(change.square().sum())
        factors = _split(u, s, v)
        return Truncated(factors, wanted, float((change - factors.whole()).square().sum()))
    if rank is None:
        return Truncated(change, change.squared(), 0.0)
    # Of a product of thin matrices only a core as wide as their rank has to be decomposed.
    q_b, r_b = torch.linalg.qr(change.b)
    q_a, r_a = torch.linalg.qr(change.a.T)
    u, s, vh = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    squares = s.square()
    wanted, lost = float(squares.sum()), float(squares[rank:].sum())
    return Truncated(_split(q_b @ u[:, :rank], s[:rank], q_a @ vh[:rank].T), wanted, lost)


def _split(u: Tensor, s: Tensor, v: Tensor) -> Factors:
    """U S V^T with both factors of the same size, without directions that are nothing; at least one stays."""
    count = max(1, int((s > _NOTHING * s[0]).sum()))
    root = s[:count].sqrt()
    return Factors((v[:, :count] * root).T.contiguous(), (u[:, :count] * root).contiguous())
