"""A merged folder against what it was made of: the next-token logits of both on the same prompts.

The two models run one after the other with their weights in the files, a layer in memory at a time
(`studio.merge.streamed`), over all prompts in one pass. The reference is built the other way round: by the
method's own code over the base as loaded, not by the formulas that wrote the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from studio.identity import weight_files
from studio.manifests import manifest_of, method_of
from studio.merge import POSITIONS, PROMPTS, shards
from studio.merge.change import FullChange, in_4_bit
from studio.merge.into_base import Source, moved
from studio.merge.layout import Layout
from studio.merge.streamed import Read, StoredWeights, empty_model, return_freed_memory, stream
from studio.models.anatomy import Anatomy
from studio.models.quantisation import Quantisation
from studio.plan import methods
from studio.registry import load_part
from studio.train.tuner import Tuner

# The most that a logit may be off, as a share of the largest one: what rounding each merged weight once to
# this format costs, with room. See docs/merging.md for what was measured.
BOUNDS = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


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
        """Whether the largest distance is within the bound; never of logits that are no numbers."""
        return None if self.bound is None else self.max_difference <= self.bound < inf


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
    return_freed_memory()
    method, params = method_of(manifest_of(source.adapter))
    quantisation = method.base_quantisation(params)
    stored = stored_dtype(out)
    # In 32 bit the arithmetic adds nothing to the difference; 4 bit is compared in the run's own format.
    dtype = source.dtype if quantisation else torch.float32
    over = quantisation if exact else None
    theirs = run_logits(source, over, dtype, weight, prompts)
    coarser = max((stored, dtype), key=lambda kind: BOUNDS[kind])
    written = agreement(theirs, folder_logits(out, dtype, prompts), BOUNDS[coarser])
    if quantisation is None:
        return Verified(written, None)
    other = run_logits(source, None if exact else quantisation, dtype, weight, prompts)
    return Verified(written, agreement(theirs, other, None))


def stored_dtype(folder: Path) -> torch.dtype:
    """The coarsest number format among a folder's weights."""
    kinds = {place.dtype for file in weight_files(folder) for place in shards.places(file)}
    return max((_KINDS[kind] for kind in kinds if kind in _KINDS), key=lambda kind: BOUNDS[kind])


_KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def folder_logits(folder: Path, dtype: torch.dtype, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """`last_logits` of a model folder in `dtype`."""
    streamed = empty_model(folder, dtype)
    stream(streamed.model, streamed, StoredWeights(folder, Layout(folder)))
    return last_logits(streamed.model, None, prompts)


def run_logits(
    source: Source,
    quantisation: Quantisation | None,
    dtype: torch.dtype,
    weight: float,
    prompts: Sequence[Sequence[int]],
) -> list[Tensor]:
    """`last_logits` of the run over its base, in 4 bit or as stored; at another weight than 1 of weights in
    between."""
    method, params = method_of(manifest_of(source.adapter))
    layout, streamed = Layout(source.base), empty_model(source.base, dtype)
    read: Read = StoredWeights(source.base, layout)
    if method.capable("trains_base", params):
        stream(streamed.model, streamed, _trained(read, FullChange(source.adapter, layout), weight))
        return last_logits(streamed.model, None, prompts)
    if method.base_quantisation(params):
        method = methods.get("lora")  # the same adapter; the base's weights are rounded as they are read
    tuner: Any = load_part(method.torch)(params)
    model = tuner.load(streamed.model, source.adapter)
    if quantisation is not None:
        read = _rounded(read, layout, quantisation)
    stream(model, streamed, read, lambda part: None if weight == 1.0 else tuner.weigh(part, weight))
    return last_logits(model, tuner, prompts)


def _trained(read: Read, change: FullChange, weight: float) -> Read:
    """Weights that trained themselves in place of the base's."""

    def trained(name: str, dtype: torch.dtype) -> Tensor:
        before = read(name, dtype)
        return before.copy_(moved(change, name, before, weight)) if name in change.names else before

    return trained


def _rounded(read: Read, layout: Layout, quantisation: Quantisation) -> Read:
    """Weights out of the 4 bits in which the run's base held them."""

    def rounded(name: str, dtype: torch.dtype) -> Tensor:
        weight = read(name, dtype)
        if name not in layout.rounded:
            return weight
        held = in_4_bit(quantisation, dtype)
        return weight.copy_(held(weight.T).T if name in layout.turned else held(weight))

    return rounded


@torch.no_grad()
def last_logits(model: nn.Module, tuner: Tuner | None, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits (positions, vocabulary) in 32 bit at the end of each of the first prompts."""
    anatomy, asked = Anatomy(causal_model(model)), tuner or Tuner(None)
    rows = [torch.tensor(list(prompt)) for prompt in prompts[:PROMPTS]]
    ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    states = asked.hidden(anatomy, {"input_ids": ids, "attention_mask": mask}).states
    ends = [own[: len(row)][-POSITIONS:] for own, row in zip(states, rows, strict=True)]
    logits = anatomy.logits(torch.cat(ends)).float()  # at once: the head is in memory once
    return list(torch.split(logits, [len(end) for end in ends]))


def causal_model(model: nn.Module) -> nn.Module:
    """The model of transformers, out of PEFT's where it is in one."""
    inside = cast(Any, model)
    return cast(nn.Module, inside.get_base_model()) if hasattr(inside, "get_base_model") else model


def agreement(theirs: list[Tensor], ours: list[Tensor], share: float | None) -> Agreement:
    """How far logits are apart; `share` of the largest one is allowed, None: they are only measured."""
    gaps = [(a - b).abs_() for a, b in zip(theirs, ours, strict=True)]
    largest = _largest([logits.abs() for logits in theirs])
    mean = sum(float(gap.sum(dtype=torch.float64)) for gap in gaps) / sum(gap.numel() for gap in gaps)
    bound = None if share is None else share * largest
    return Agreement(_largest(gaps), mean, largest, bound)


def _largest(tensors: list[Tensor]) -> float:
    """Of all numbers; NaN if there is one, which Python's own `max` would pass over."""
    return float(torch.stack([tensor.max() for tensor in tensors]).max())
