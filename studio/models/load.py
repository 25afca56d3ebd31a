"""Loading the weights of a model folder: safetensors only, no code from the folder, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from studio.errors import StudioError
from studio.models.families import family_of

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# None: torch's fused kernel where the family has it, else the plain one (Gemma 2 caps attention scores).
_ATTENTION = {"sdpa": None, "flash": "flash_attention_2", "eager": "eager"}


def load_model(folder: Path, *, dtype: torch.dtype, device: str, attention: str = "sdpa") -> nn.Module:
    """The causal language model of `folder`, in evaluation mode, all weights frozen.

    Raises StudioError `model_foreign` (no config.json), `architecture_unknown`, `model_pickles_refused`,
    `model_weights_missing`, `model_unreadable`.
    """
    _check_folder(folder)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # the log is read by people
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
            dtype=dtype,
            attn_implementation=_ATTENTION[attention],
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as broken:
        raise StudioError("model_unreadable", path=str(folder), detail=_first_line(broken)) from broken
    return cast(nn.Module, model.to(device).eval().requires_grad_(False))


def compute_dtype(precision: str) -> torch.dtype:
    """The dtype in which a run holds the frozen weights."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


def _check_folder(folder: Path) -> None:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise StudioError("model_foreign", path=str(folder))
    try:
        config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as broken:
        raise StudioError("model_unreadable", path=str(folder), detail=_first_line(broken)) from broken
    family_of(config.get("model_type"))
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(f.name for pattern in _PICKLES for f in folder.glob(pattern))
    if pickles:
        raise StudioError("model_pickles_refused", path=str(folder), files=pickles)
    raise StudioError("model_weights_missing", path=str(folder))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
