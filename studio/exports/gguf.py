"""A whole model as one GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio.exports import ExportFormat, exact_param
from studio.models.config import read_config
from studio.params import param

# 8 bit: 32 numbers of a byte each share a scale of two.
_ITEM_BYTES = {"f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
_LENGTH, _NUMBER = 8, 4  # of a text, and of a kind or a score
_FEW_BYTES = 32 << 10  # the chat template, names and places of the tensors
_WORDS_BYTES = 8 << 20  # a vocabulary with its merges, where there is none to look at


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
    file = base / "tokenizer.json"
    words = _words(file, file.stat().st_mtime_ns) if file.is_file() else _WORDS_BYTES
    return round(parameters * _ITEM_BYTES[params.type]) + words + _FEW_BYTES


@lru_cache(maxsize=8)
def _words(file: Path, changed: int) -> int:
    """What the words take: each with its length and kind; and merges or, with pieces for bytes, scores."""
    del changed  # only tells one content of the file from the next
    try:
        body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        model = body["model"]
        vocabulary = {*model["vocab"], *(token["content"] for token in body.get("added_tokens") or ())}
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or ()]
    except (OSError, ValueError, LookupError, TypeError):  # another kind, which the export itself refuses
        return _WORDS_BYTES
    words = sum(_LENGTH + len(word.encode()) + _NUMBER for word in vocabulary)
    if model.get("byte_fallback"):
        return words + _NUMBER * len(vocabulary)
    return words + sum(_LENGTH + len(merge.encode()) for merge in merges)


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
