"""A whole model as one GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.exports import ExportFormat, exact_param
from studio.models.config import read_config
from studio.params import param

# 8 bit: 32 numbers of a byte each share a scale of two.
_ITEM_BYTES = {"f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
_WORDS_BYTES = 8 << 20  # a vocabulary with its merges


@dataclass(frozen=True)
class GgufParams:
    type: str = param(
        "f16",
        "Number format of the weights: f16 and bf16 take 2 bytes each, q8_0 about 1 and is a little rounded.",
        choices=("f16", "bf16", "q8_0"),
    )
    exact: bool = exact_param()


def size(base: Path, adapter: Path | None, params: GgufParams) -> int:
    """All parameters in their number format, and the words."""
    del adapter
    parameters = read_config(base).parameters
    assert parameters is not None, "known for every family that can be written"
    return round(parameters * _ITEM_BYTES[params.type]) + _WORDS_BYTES


EXTENSION = ExportFormat(
    id="gguf",
    title="GGUF",
    summary="One file with weights, tokenizer and chat template, for llama.cpp, Ollama and LM Studio, and a "
    "Modelfile beside it.",
    params=GgufParams,
    torch="studio.export.gguf:GgufWriter",
    merged=True,
    size=size,
    families=("llama", "mistral", "qwen2", "qwen3"),
)
