"""In which number format the chat engine holds a base, and why. No torch."""

from __future__ import annotations

from typing import Literal

from studio.errors import Reason
from studio.models.config import ModelFacts
from studio.models.quantisation import Quantisation, quantised_bytes

Precision = Literal["float32", "bfloat16", "float16"]
_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}

_ONE_THREAD_BYTES = 32 * 2**20


def stored_precision(facts: ModelFacts) -> Precision:
    """The format that a model's config.json names for its weights; 32 bit where it names none or another."""
    return facts.dtype if facts.dtype in _SIZES else "float32"  # type: ignore[return-value]


def itemsize(precision: Precision) -> int:
    """Bytes per number."""
    return _SIZES[precision]


def weights_bytes(facts: ModelFacts) -> int:
    """Size of a model's weights in that format; 0 where their number is not known."""
    return (facts.parameters or 0) * _SIZES[stored_precision(facts)]


def copy_bytes(facts: ModelFacts, precision: Precision, quantisation: Quantisation | None) -> int:
    """Size of a second base in this format; in 4 bit, that of its linear layers shrinks."""
    parameters = facts.parameters or 0
    if quantisation is None:
        return parameters * _SIZES[precision]
    return quantised_bytes(facts, parameters, quantisation, _SIZES[precision])


def choose_precision(
    stored: Precision, stored_bytes: int, device: str, native_bf16: bool, free_bytes: int
) -> tuple[Precision, Reason]:
    """The format to answer in: what config.json names, as plain transformers does, so that the base answers
    as it does there, token for token.

    The exception is a processor that does not multiply 16-bit numbers itself. Converting them at every step
    makes it several times slower there, so it computes in 32 bit as long as that fits.

    Args:
        stored: What config.json names.
        stored_bytes: Size of the weights in that format.
        device: As torch names it.
        native_bf16: Whether the device multiplies bf16 in hardware.
        free_bytes: Free memory there.
    """
    in_32_bit = stored_bytes * 4 // _SIZES[stored]
    facts = {"stored": stored, "device": device, "needed_bytes": in_32_bit, "free_bytes": free_bytes}
    if stored == "float32" or (native_bf16 and not (device == "cpu" and stored == "float16")):
        return stored, Reason("precision_as_stored", facts)
    if in_32_bit <= free_bytes // 2:
        return "float32", Reason("precision_no_fast_16_bit", facts)
    return "bfloat16" if device == "cpu" else stored, Reason("precision_must_fit", facts)


def processor_threads(weights: int, cores: int) -> int:
    """Threads for answering with `weights` bytes of weights on the processor.

    A small model's layers take less time than it takes several threads to meet, above all when a training run
    wants the same cores: one thread is as fast there when the machine is idle, and several times faster when
    it is not.
    """
    return 1 if weights <= _ONE_THREAD_BYTES else cores
