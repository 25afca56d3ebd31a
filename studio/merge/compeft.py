"""ComPEFT: an adapter in ternary numbers (Yadav et al. 2023, arXiv 2311.13171).

Of each tensor the largest numbers are kept, a share `density` of them, as +1 or -1 times one scale. Where
they stand is written as the gap from one to the next, a byte each, and their signs as bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

WEIGHTS = "compeft.safetensors"
_LONG = 255  # a byte of this value adds itself to the gap and says that it goes on


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
    found: dict[str, Tensor] = {}
    with safe_open(file, framework="np") as saved:
        for name, shape in json.loads(saved.metadata()["shapes"]).items():
            gaps = _gaps_of_bytes(saved.get_tensor(f"{name}:gaps"))
            signs = np.unpackbits(saved.get_tensor(f"{name}:signs"), count=len(gaps))
            flat = np.zeros(int(np.prod(shape)), dtype=np.float32)
            scale = saved.get_tensor(f"{name}:scale")
            flat[np.cumsum(gaps + 1) - 1] = np.where(signs, scale, -scale)
            found[name] = torch.from_numpy(flat).reshape(shape)
    return found


def _bytes_of_gaps(gaps: Any) -> Any:
    long = gaps // _LONG
    ends = np.cumsum(long + 1) - 1  # where each gap's last byte stands
    out = np.full(int(ends[-1]) + 1 if len(ends) else 0, _LONG, dtype=np.uint8)
    out[ends] = gaps - long * _LONG
    return out


def _gaps_of_bytes(stored: Any) -> Any:
    ends = np.flatnonzero(stored != _LONG)
    return np.diff(np.cumsum(stored, dtype=np.int64)[ends], prepend=0)
