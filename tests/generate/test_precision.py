from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.generate.precision import (
    choose_precision,
    processor_threads,
    stored_precision,
    weights_bytes,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("stored", "size", "device", "native", "free", "expected"),
    [
        ("float32", 10 * GIB, "cpu", True, 8 * GIB, ("float32", "precision_as_stored")),
        ("bfloat16", 6_000_000, "cpu", True, 8 * GIB, ("float32", "precision_small_model")),
        ("bfloat16", 6_000_000, "cuda:0", True, 8 * GIB, ("float32", "precision_small_model")),
        ("bfloat16", GIB, "cpu", True, 64 * GIB, ("bfloat16", "precision_faster")),
        ("float16", GIB, "cpu", True, 64 * GIB, ("bfloat16", "precision_faster")),
        ("float16", GIB, "cuda:0", True, 64 * GIB, ("float16", "precision_faster")),
        ("bfloat16", GIB, "cpu", False, 64 * GIB, ("float32", "precision_no_fast_bf16")),
        ("bfloat16", 14 * GIB, "cpu", False, 32 * GIB, ("bfloat16", "precision_fits")),
    ],
)
def test_the_precision_and_its_reason(
    stored: str, size: int, device: str, native: bool, free: int, expected: tuple[str, str]
) -> None:
    precision, reason = choose_precision(stored, size, device, native, free)  # type: ignore[arg-type]
    assert (precision, reason.code) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"text_config": {"dtype": "bfloat16"}}, "bfloat16"),
        ({}, "float32"),
        ({"dtype": "float8_e4m3fn"}, "float32"),
    ],
)
def test_what_a_config_says_of_its_weights(tmp_path: Path, config: dict[str, object], expected: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert stored_precision(tmp_path) == expected


def test_weights_are_counted_without_other_files(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"x" * 5)
    (tmp_path / "tokenizer.json").write_bytes(b"x" * 100)
    assert weights_bytes(tmp_path) == 15


def test_a_small_model_gets_one_thread() -> None:
    assert processor_threads(6_000_000, 16) == 1
    assert processor_threads(GIB, 16) == 16
