"""Adapters on disk: PEFT's format beside our manifest, read into factors per weight matrix and written back.

What is known of LoRA's forms: ranks and alphas per layer, rsLoRA's scale, and, by name, the parts beside the
two matrices (DoRA's lengths, trained tokens, modules trained whole).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.errors import StudioError
from studio.manifests import manifest_of
from studio.merge import compeft
from studio.merge.expand_adapter import COMPACT, CONFIG, WEIGHTS
from studio.merge.factors import Factors

PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_MAGNITUDE = ".lora_magnitude_vector"
_TOKENS = ".token_adapter.trainable_tokens_delta"


@dataclass(frozen=True)
class Adapter:
    """An adapter in PEFT's LoRA format. `tensors` are by the names in its file, without PEFT's prefix."""

    folder: Path
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def base(self) -> str:
        """Hash of the base that it was trained on."""
        return str(self.manifest["base"])

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Paths of the layers whose matrix it changes."""
        return tuple(sorted(name.removesuffix(_A) for name in self.tensors if name.endswith(_A)))

    @property
    def fan_in_fan_out(self) -> bool:
        """Whether the layers hold their weight as (inputs, outputs)."""
        return bool(self.config.get("fan_in_fan_out"))

    def factors(self, path: str) -> Factors:
        """What it changes of one layer's weight (outputs, inputs)."""
        a, b = self.tensors[path + _A].float(), self.tensors[path + _B].float()
        rank = a.shape[0]
        alpha = _of_layer(self.config.get("alpha_pattern"), path, self.config["lora_alpha"])
        return Factors(a, alpha / (sqrt(rank) if self.config.get("use_rslora") else rank) * b)

    def magnitude(self, path: str) -> Tensor | None:
        """DoRA's length of each row of one layer's weight (outputs,); None without."""
        found = self.tensors.get(path + _MAGNITUDE)
        return None if found is None else found.float()

    @cached_property
    def tokens(self) -> dict[str, tuple[tuple[int, ...], Tensor]]:
        """By the path of a table: ids of tokens and their whole trained vectors (tokens, hidden)."""
        ids = self.config.get("trainable_token_indices")
        found = {name.removesuffix(_TOKENS): t for name, t in self.tensors.items() if name.endswith(_TOKENS)}
        return {path: (tuple(_ids(ids, path)), vectors) for path, vectors in found.items()}

    @cached_property
    def whole(self) -> dict[str, Tensor]:
        """By name: parameters that trained whole."""
        return {n: t for n, t in self.tensors.items() if not n.endswith((_A, _B, _MAGNITUDE, _TOKENS))}

    @property
    def parts(self) -> list[str]:
        """What it has beside two matrices per layer: `dora`, `tokens`, `modules`."""
        dora = any(name.endswith(_MAGNITUDE) for name in self.tensors)
        found = {"dora": dora, "tokens": bool(self.tokens), "modules": bool(self.whole)}
        return [name for name, there in found.items() if there]


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`, which may be a compressed one.

    Raises StudioError `adapter_missing` (path), `merge_base_unknown` (path) where no manifest names its base,
    `adapter_unfit` (path, detail) where it is none that this package knows.
    """
    if not (folder / CONFIG).is_file():
        raise StudioError("adapter_missing", path=str(folder))
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        detail = f"{config.get('peft_type')}, bias {config.get('bias')}"
        raise StudioError("adapter_unfit", path=str(folder), detail=detail)
    if (folder / COMPACT).is_file():
        tensors = compeft.load(folder / COMPACT)
    elif (folder / WEIGHTS).is_file():
        tensors = load_file(folder / WEIGHTS)
    else:
        raise StudioError("adapter_missing", path=str(folder))
    return Adapter(
        folder,
        manifest_of(folder),
        config,
        {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()},
    )


@dataclass(frozen=True)
class PeftForm:
    """An adapter as PEFT knows it: its config, and its tensors by the names in a file."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]


def peft_form(changes: Mapping[str, Factors], *, fan_in_fan_out: bool) -> PeftForm:
    """The LoRA adapter that makes these changes, given by path."""
    ranks = {path: factors.rank for path, factors in changes.items()}
    usual = Counter(ranks.values()).most_common(1)[0][0]
    unusual = {path: rank for path, rank in ranks.items() if rank != usual}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": usual,
        "lora_alpha": usual,  # the scale is inside the matrices
        "rank_pattern": unusual,
        "alpha_pattern": unusual,
        "target_modules": sorted(changes),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
    }
    tensors = {}
    for path, factors in changes.items():
        tensors[f"{PREFIX}{path}{_A}"] = factors.a.contiguous()
        tensors[f"{PREFIX}{path}{_B}"] = factors.b.contiguous()
    return PeftForm(config, tensors)


def write_adapter(folder: Path, adapter: PeftForm, density: float | None = None) -> None:
    """Write an adapter into the existing `folder`, in PEFT's format, or compressed to a density."""
    (folder / CONFIG).write_text(json.dumps(adapter.config, indent=1), encoding="utf-8")
    file = folder / (WEIGHTS if density is None else COMPACT)
    if density is None:
        save_file(adapter.tensors, file, metadata={"format": "pt"})
    else:
        compeft.save(adapter.tensors, file, density)
    # safetensors lets nobody else read it; whom the folder is for says the process, as for its other files.
    file.chmod((folder / CONFIG).stat().st_mode & 0o777)


def _of_layer(pattern: Mapping[str, Any] | None, path: str, usual: float) -> float:
    """A layer's own value, by PEFT's rule: the first key that the path ends with."""
    for key, value in (pattern or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", path):
            return float(value)
    return float(usual)


def _ids(ids: Any, path: str) -> list[int]:
    """PEFT's trained tokens: a list for the token table, or a list per layer's name."""
    if isinstance(ids, dict):
        return next(list(found) for name, found in ids.items() if re.fullmatch(rf"(.*\.)?({name})", path))
    return list(ids)
