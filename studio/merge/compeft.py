"""ComPEFT: an adapter in ternary numbers (Yadav et al. 2023, arXiv 2311.13171).

Of each tensor the largest numbers are kept, a share `density` of them, as +1 or -1 times one scale. Where
they stand is written as the gap from one to the next, a byte each, and their signs as bits. What reads that
back is `expand_adapter`, which stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from studio.merge.expand_adapter import LONG, arrays


def ternary(tensor: Tensor, density: float) -> Tensor:
    """The tensor as it comes back: its largest numbers as +-scale, the scale being their mean size, which is
    the nearest there is."""
    flat = tensor.float().flatten()
    kept = flat.abs().topk(max(1, round(density * flat.numel()))).indices
    out = torch.zeros_like(flat)
    out[kept] = flat[kept].sign() * flat[kept].abs().mean()
    return out.view_as(tensor)


def save(tensors: Mapping[str, Tensor], file: Path, density: float) -> None:
    """Write tensors in ternary form; `load` gives each as `ternary` does."""
    stored: dict[str, Any] = {}
    for name, tensor in tensors.items():
        flat = ternary(tensor, density).numpy().ravel()
        places = np.flatnonzero(flat)
        stored[f"{name}:gaps"] = _bytes_of_gaps(np.diff(places, prepend=-1) - 1)
        stored[f"{name}:signs"] = np.packbits(flat[places] > 0)
        stored[f"{name}:scale"] = np.abs(flat[places[:1]])
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    save_file(stored, file, metadata={"format": "compeft", "shapes": json.dumps(shapes)})


def load(file: Path) -> dict[str, Tensor]:
    """Tensors of a file that `save` wrote, in 32 bit."""
    return {name: torch.from_numpy(array) for name, array in arrays(file).items()}


def _bytes_of_gaps(gaps: Any) -> Any:
    long = gaps // LONG
    ends = np.cumsum(long + 1) - 1  # where each gap's last byte stands
    out = np.full(int(ends[-1]) + 1 if len(ends) else 0, LONG, dtype=np.uint8)
    out[ends] = gaps - long * LONG
    return out
