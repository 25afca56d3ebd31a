"""Looking at a model in the middle of its training without changing what comes after."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


def random_state() -> dict[str, Any]:
    """The state of every random generator that training may use: tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode and without gradients; mode, `requires_grad` and random generators are put
    back."""
    modes = [(module, module.training) for module in model.modules()]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    state = random_state()
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        set_random_state(state)
        for module, mode in modes:
            module.training = mode
        for parameter, wanted in trained:
            parameter.requires_grad_(wanted)
