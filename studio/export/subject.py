"""What is exported, and what a format supplies to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from studio.data.render import Renderer
from studio.manifests import manifest_of, method_of
from studio.merge.change import Change, NoChange
from studio.merge.into_base import Source, change_of
from studio.merge.layout import Layout
from studio.methods import Method
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.registry import load_part
from studio.train.tuner import Tuner

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Subject:
    """A model: its base (folder and hash) and what was learned beside it (None: the base itself), the
    tokenizer (the run's; None: the base's), the precision that the run was planned with, and the sha256 of
    the base's weight files where they are known."""

    base: Path
    base_hash: str
    adapter: Path | None = None
    tokenizer: Path | None = None
    precision: str = "fp32"
    base_files: Mapping[str, str] | None = None

    @property
    def words(self) -> Path:
        """The folder that its tokenizer is in."""
        return self.tokenizer or self.base

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer.from_folder(self.words)

    @cached_property
    def method(self) -> tuple[Method, Any] | None:
        """The method that learned, and its params."""
        return None if self.adapter is None else method_of(manifest_of(self.adapter))

    @property
    def quantisation(self) -> Quantisation | None:
        """How the studio holds the base under what was learned."""
        if self.method is None:
            return None
        method, params = self.method
        return method.base_quantisation(params)

    @property
    def dtype(self) -> torch.dtype:
        """In which it is compared: in 32 bit the arithmetic adds nothing to a difference, but 4 bit belongs
        to a format."""
        return torch.float32 if self.quantisation is None else self.source.dtype

    @property
    def source(self) -> Source:
        """As a merge takes it; only where something was learned."""
        assert self.adapter is not None
        return Source(self.adapter, self.base, self.base_hash, self.tokenizer, self.precision)

    def change(self, layout: Layout, exact: bool) -> Change:
        """What was learned as a change of the base's weights; errors as for `merge_into_base`."""
        if self.adapter is None:
            return NoChange()
        return change_of(self.source, layout, exact and self.quantisation is not None)

    def load(self) -> tuple[nn.Module, Tuner | None]:
        """The model as the studio itself answers with it."""
        if self.adapter is None:
            return load_model(self.base, dtype=self.dtype, device="cpu"), None
        assert self.method is not None
        method, params = self.method
        tuner: Tuner = load_part(method.torch)(params)
        base = load_model(self.base, dtype=self.dtype, device="cpu", quantisation=self.quantisation)
        return tuner.load(base, self.adapter), tuner


class Writer(Protocol):
    """A format at work on one subject."""

    def __init__(self, subject: Subject, params: Any) -> None: ...

    def write(self, folder: Path, prompts: Sequence[Sequence[int]], progress: Progress) -> None:
        """Fill the folder. `prompts`: token ids of what it will be asked. `progress` is
        told the share that is done, and may raise to end the work."""
        ...

    def open(self, folder: Path) -> nn.Module:
        """What was written, loaded by those that will load it elsewhere, in the subject's dtype."""
        ...

    def allowed(self, folder: Path) -> float:
        """The most that a logit may be off, as a share of the largest one."""
        ...
