"""A whole model as one GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

from dataclasses import dataclass

from studio.exports import ExportFormat, exact_param
from studio.params import param


@dataclass(frozen=True)
class GgufParams:
    type: str = param(
        "f16",
        "Number format of the weights: f16 and bf16 take 2 bytes each, q8_0 about 1 and is a little rounded.",
        choices=("f16", "bf16", "q8_0"),
    )
    exact: bool = exact_param()


EXTENSION = ExportFormat(
    id="gguf",
    title="GGUF",
    summary="One file with weights, tokenizer and chat template, for llama.cpp, Ollama and LM Studio, and a "
    "Modelfile beside it.",
    params=GgufParams,
    torch="studio.export.gguf:GgufWriter",
    merged=True,
    families=("llama", "mistral", "qwen2", "qwen3"),
)
