"""A merged folder against what it was made of: the next-token logits of both on the same prompts.

One model is in memory at a time. The reference is built the other way round: by the method's own code over
the base as loaded, not by the formulas that wrote the folder.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from studio.identity import weight_files
from studio.manifests import manifest_of, method_of
from studio.merge import shards
from studio.merge.into_base import Source
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.plan import methods
from studio.registry import load_part
from studio.train.tuner import Tuner

# The most that a logit may be off, as a share of the largest one: what rounding each merged weight once to
# this format costs, with room. See docs/merging.md for what was measured.
BOUNDS = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
PROMPTS, POSITIONS = 8, 16  # at most so many prompts, and of each the last so many positions


@dataclass(frozen=True)
class Agreement:
    """How far logits are apart: at most, on average, and the largest logit. `bound` on the largest distance;
    None: it is only measured."""

    max_difference: float
    mean_difference: float
    largest: float
    bound: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the largest distance is within the bound."""
        return None if self.bound is None else self.max_difference <= self.bound


@dataclass(frozen=True)
class Verified:
    """`written`: the merged folder against the run over the base that it was merged into. `ways`, for a run
    over 4 bit: the run over the base as stored against the run over the base in 4 bit, as it was trained,
    that is, how far apart the two ways of merging are."""

    written: Agreement
    ways: Agreement | None


def verify(
    source: Source, out: Path, prompts: Sequence[Sequence[int]], *, exact: bool, weight: float = 1.0
) -> Verified:
    """Compare the folder `out`, written by `merge_into_base` with the same arguments, on `prompts` (token
    ids)."""
    method, params = method_of(manifest_of(source.adapter))
    quantisation = method.base_quantisation(params)
    stored = stored_dtype(out)
    # In 32 bit the arithmetic adds nothing to the difference; 4 bit is compared in the run's own format.
    dtype = source.dtype if quantisation else torch.float32
    over = quantisation if exact else None
    theirs = next_token_logits(lambda: tuned(source, over, dtype, weight), prompts)
    ours = next_token_logits(lambda: (load_model(out, dtype=dtype, device="cpu"), None), prompts)
    coarser = max((stored, dtype), key=lambda kind: BOUNDS[kind])
    written = agreement(theirs, ours, BOUNDS[coarser])
    if quantisation is None:
        return Verified(written, None)
    other = next_token_logits(lambda: tuned(source, None if exact else quantisation, dtype, weight), prompts)
    return Verified(written, agreement(theirs, other, None))


def stored_dtype(folder: Path) -> torch.dtype:
    """The coarsest number format among a folder's weights."""
    kinds = {place.dtype for file in weight_files(folder) for place in shards.places(file)}
    return max((_KINDS[kind] for kind in kinds if kind in _KINDS), key=lambda kind: BOUNDS[kind])


_KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def tuned(
    source: Source, quantisation: Quantisation | None, dtype: torch.dtype, weight: float
) -> tuple[nn.Module, Tuner | None]:
    """The run over its base, in 4 bit or as stored; at another weight than 1 as weights in between, and then
    without a tuner."""
    method, params = method_of(manifest_of(source.adapter))
    if method.base_quantisation(params) and quantisation is None:
        method = methods.get("lora")  # the same adapter, over a base that is not rounded
    tuner: Tuner = load_part(method.torch)(params)

    def base() -> nn.Module:
        return load_model(source.base, dtype=dtype, device="cpu", quantisation=quantisation)

    if weight == 1.0:
        return tuner.load(base(), source.adapter), tuner
    merged = tuner.merge(tuner.load(base(), source.adapter))
    before = base()
    if quantisation is not None:
        before = cast(Any, before).dequantize()
    with torch.no_grad():
        for mine, its in zip(merged.parameters(), before.parameters(), strict=True):
            mine.data = its + weight * (mine - its)
    return merged, None


def next_token_logits(
    build: Callable[[], tuple[nn.Module, Tuner | None]], prompts: Sequence[Sequence[int]]
) -> list[Tensor]:
    """`last_logits` of a model that is gone when this returns."""
    model, tuner = build()
    found = last_logits(model, tuner, prompts)
    del model
    gc.collect()
    return found


@torch.no_grad()
def last_logits(model: nn.Module, tuner: Tuner | None, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits (positions, vocabulary) in 32 bit at the end of each of the first prompts."""
    anatomy, asked = Anatomy(causal_model(model)), tuner or Tuner(None)
    found = []
    for prompt in prompts[:PROMPTS]:
        ids = torch.tensor([list(prompt)])
        states = asked.hidden(anatomy, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).states
        found.append(anatomy.logits(states[0, -POSITIONS:]).float())
    return found


def causal_model(model: nn.Module) -> nn.Module:
    """The model of transformers, out of PEFT's where it is in one."""
    inside = cast(Any, model)
    return cast(nn.Module, inside.get_base_model()) if hasattr(inside, "get_base_model") else model


def agreement(theirs: list[Tensor], ours: list[Tensor], share: float | None) -> Agreement:
    """How far logits are apart; `share` of the largest one is allowed, None: they are only measured."""
    gaps = torch.cat([(a - b).abs().flatten() for a, b in zip(theirs, ours, strict=True)])
    largest = max(float(logits.abs().max()) for logits in theirs)
    bound = None if share is None else share * largest
    return Agreement(float(gaps.max()), float(gaps.mean()), largest, bound)
