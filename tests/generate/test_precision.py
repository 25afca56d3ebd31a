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
from studio.models.config import read_config

GIB = 2**30


@pytest.mark.parametrize(
    ("stored", "size", "device", "native", "free", "expected"),
    [
        ("float32", 10 * GIB, "cpu", True, 8 * GIB, ("float32", "precision_as_stored")),
        ("bfloat16", GIB, "cpu", True, 64 * GIB, ("bfloat16", "precision_as_stored")),
        ("bfloat16", GIB, "cuda:0", True, 64 * GIB, ("bfloat16", "precision_as_stored")),
        ("float16", GIB, "cuda:0", True, 64 * GIB, ("float16", "precision_as_stored")),
        ("float16", GIB, "cpu", True, 64 * GIB, ("float32", "precision_no_fast_16_bit")),
        ("bfloat16", GIB, "cpu", False, 64 * GIB, ("float32", "precision_no_fast_16_bit")),
        ("bfloat16", 14 * GIB, "cpu", False, 32 * GIB, ("bfloat16", "precision_must_fit")),
        ("float16", 14 * GIB, "cuda:0", False, 16 * GIB, ("float16", "precision_must_fit")),
    ],
)
def test_the_precision_and_its_reason(
    stored: str, size: int, device: str, native: bool, free: int, expected: tuple[str, str]
) -> None:
    precision, reason = choose_precision(stored, size, device, native, free)  # type: ignore[arg-type]
    assert (precision, reason.code) == expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"dtype": "bfloat16"}, ("bfloat16", 2)),
        ({"torch_dtype": "float16"}, ("float16", 2)),
        ({}, ("float32", 4)),
        ({"dtype": "float8_e4m3fn"}, ("float32", 4)),
    ],
)
def test_what_a_config_says_of_its_weights(
    tmp_path: Path, named: dict[str, object], expected: tuple[str, int]
) -> None:
    config = {
        "model_type": "gpt2",
        "vocab_size": 10,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 2,
        "n_positions": 4,
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, **named}))
    facts = read_config(tmp_path)
    assert facts.parameters is not None
    assert (stored_precision(facts), weights_bytes(facts) // facts.parameters) == expected


def test_a_small_model_gets_one_thread() -> None:
    assert processor_threads(6_000_000, 16) == 1
    assert processor_threads(GIB, 16) == 16
