"""Adapters of a tiny model, written by PEFT itself, and what they change by PEFT's own arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

from studio.params import to_dict
from studio.plan import methods
from tests.toys.folders import tiny_model

BASE = "b" * 64
LAYERS = [f"model.layers.{i}.{name}" for i in range(2) for name in ("self_attn.q_proj", "mlp.down_proj")]


def write_peft(folder: Path, seed: int, base: str = BASE, family: str = "llama", **config: Any) -> Path:
    """A random adapter, saved by PEFT, with a manifest beside it."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": LAYERS, "init_lora_weights": False, **config}
    model: Any = get_peft_model(tiny_model(family), LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "modules_to_save" in name or "trainable_tokens" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    lora = methods.get("lora")
    manifest = {"method": "lora", "method_params": to_dict(lora.params()), "model": "path:tiny", "base": base}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def deltas(folder: Path, family: str = "llama") -> dict[str, Any]:
    """What PEFT adds to each weight (outputs, inputs) with this adapter, as numpy arrays."""
    model = PeftModel.from_pretrained(tiny_model(family), str(folder))
    found = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            delta = module.get_delta_weight("default").detach()  # type: ignore[operator]
            found[name] = np.asarray(delta.T if family == "gpt2" else delta, dtype=np.float64)
    return found
