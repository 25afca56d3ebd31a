"""The leading part of a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from studio.methods.lora import WHOLE_SVD

_ITERATIONS = 16
_SPARE = 16


def leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` largest singular values (count,) of a matrix with at least as many, and their left and
    right vectors as columns."""
    if min(matrix.shape) <= WHOLE_SVD:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u[:, :count], s[:count], vh[:count].T
    u, s, v = torch.svd_lowrank(matrix, q=min(count + _SPARE, *matrix.shape), niter=_ITERATIONS)
    return u[:, :count], s[:count], v[:, :count]
