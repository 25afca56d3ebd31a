"""Bring a base model into memory for the chat engine: where, in which number format, and why."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.api import HardwareReport
from backend.hardware import choose_device, report, worker_device
from backend.home import Home
from backend.inputs import base_hash
from studio.data.render import Renderer
from studio.errors import Reason, StudioError
from studio.generate.precision import (
    choose_precision,
    copy_bytes,
    processor_threads,
    stored_precision,
    weights_bytes,
)
from studio.models.config import read_config
from studio.models.quantisation import Quantisation
from studio.models.survey_apart import Surveys

if TYPE_CHECKING:
    from studio.generate.adapters import AdapterPool
    from studio.generate.decode import Decoder
    from studio.generate.tuned import TunedDecoders

log = logging.getLogger("studio.chat")
# Beside the weights: keys and values, activations, the CUDA context, a few adapters.
_MARGIN_BYTES = 2**30


@dataclass(frozen=True)
class Loaded:
    """A base in memory, with what decodes over it. `reasons` say where, how and why so."""

    decoder: Decoder
    adapters: AdapterPool
    renderer: Renderer  # the base's own template
    tuned: TunedDecoders
    hash: str  # identity of the base by content
    reasons: tuple[Reason, ...]

    @property
    def decoders(self) -> list[Decoder]:
        """Of the base with its adapters, and of all that needs one to itself."""
        return [self.decoder, *self.tuned.decoders]


def place(machine: HardwareReport, wanted: str | None, needed: int) -> tuple[str, Reason]:
    """The device to chat on: the one asked for, else a GPU with room for `needed` bytes, else the
    processor.
    """
    key, reason = choose_device(machine, wanted)
    device = next((device for device in machine.devices if device.key == key), None)
    full = device is not None and device.free_bytes is not None and device.free_bytes < needed
    if wanted is None and full:
        assert device is not None
        return "cpu", Reason(
            "chat_gpu_full", {"name": device.name, "free_bytes": device.free_bytes, "needed_bytes": needed}
        )
    return key, reason


def load_base(folder: Path, home: Home, wanted: str | None = None, rows: int = 8) -> Loaded:
    """Load the model of `folder` for answering up to `rows` requests at a time.

    Sets CUDA_VISIBLE_DEVICES for this process, so torch must not have been used on a GPU before.

    Raises:
        StudioError: those of `choose_device`, `Renderer.from_folder` and `load_model`.
    """
    renderer = Renderer.from_folder(folder, converted=home.cache / "tokenizers")
    facts = read_config(folder, Surveys(home.surveys))
    stored, size = stored_precision(facts), weights_bytes(facts)
    machine = report(home.root, wait=True)
    key, place_reason = place(machine, wanted, size + _MARGIN_BYTES)
    environment, device = worker_device(key, os.environ)
    os.environ.update(environment)

    import torch

    from studio.generate.few_rows import multiply_few_rows
    from studio.generate.tuned import Shared, TunedDecoders
    from studio.models.load import load_model

    if device == "cpu":
        # The measured question is whether the processor multiplies bf16 itself; others convert, and are
        # slower.
        able = torch.cpu.get_capabilities()
        native = any(able.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
        free = machine.ram_available_bytes
        torch.set_num_threads(processor_threads(size, machine.cpu_cores))
    else:
        chosen = next(d for d in machine.devices if d.key == key)
        native = device == "mps" or torch.cuda.is_bf16_supported(including_emulation=False)
        free = chosen.free_bytes or chosen.total_bytes or 0
    precision, precision_reason = choose_precision(stored, size, device, native, free)
    open_model = partial(
        load_model, folder, dtype=getattr(torch, precision), device=device, attention=_attention(folder)
    )

    def load(quantisation: Quantisation | None = None) -> Any:
        model = open_model(quantisation=quantisation)
        multiply_few_rows(model)
        return model

    def copy(quantisation: Quantisation | None) -> Any:
        needed = copy_bytes(facts, precision, quantisation)
        _require_memory(home, key, needed)
        return load(quantisation)

    shared = Shared(load(), rows)
    tuned = TunedDecoders(shared, copy, rows)
    reasons = (place_reason, precision_reason, shared.decoder.shared_reason)
    log.info("loaded %s on %s in %s: %s", folder, key, precision, reasons)
    return Loaded(shared.decoder, shared.adapters, renderer, tuned, base_hash(folder, home), reasons)


def _require_memory(home: Home, key: str, needed: int) -> None:
    """Raises StudioError `chat_copy_memory` if a second base of `needed` bytes has no room."""
    machine = report(home.root)
    device = next((device for device in machine.devices if device.key == key), None)
    free = machine.ram_available_bytes if device is None else device.free_bytes
    if free is not None and free < needed:
        raise StudioError("chat_copy_memory", needed_bytes=needed, free_bytes=free)


def _attention(folder: Path) -> str:
    """Fused attention leaves out Gemma 2's bound on the attention scores, so such a model needs the plain
    one.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config", config)
    return "eager" if text.get("attn_logit_softcapping") else "sdpa"
