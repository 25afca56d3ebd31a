"""Which layers of known families see only so many positions back: sliding windows, as transformers reads them
from a config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Windowed(Protocol):
    """What a model's windows follow from; `own` as in `studio.models.forms.Sizes`."""

    @property
    def model_type(self) -> str: ...
    @property
    def own(self) -> Mapping[str, Any]: ...


Own = Mapping[str, Any]


def _every(own: Own, number: int) -> bool:
    del own, number
    return True


def _second(own: Own, number: int) -> bool:
    return _stated(own, number, number % 2 == 0)


def _but_one(own: Own, number: int) -> bool:
    return _stated(own, number, (number + 1) % own["sliding_window_pattern"] != 0)


def _from_a_layer_on(own: Own, number: int) -> bool:
    used: bool = own["use_sliding_window"]
    return used and _stated(own, number, number >= own["max_window_layers"])


def _stated(own: Own, number: int, usual: bool) -> bool:
    kinds = own.get("layer_types")
    return usual if kinds is None else kinds[number] == "sliding_attention"


_SLIDING: dict[str, Callable[[Own, int], bool]] = {
    "mistral": _every,
    "mixtral": _every,
    "phi3": _every,
    "gemma2": _second,
    "gemma3_text": _but_one,
    "qwen2": _from_a_layer_on,
    "qwen3": _from_a_layer_on,
}


def window_of(d: Windowed, number: int) -> int | None:
    """How many positions a token of this layer sees, itself included; None where all before it."""
    slides, size = _SLIDING.get(d.model_type), d.own.get("sliding_window")
    return size if slides is not None and slides(d.own, number) else None


def narrowed(d: Windowed, number: int, length: int) -> bool:
    """Whether transformers makes a mask for this layer's window on rows of `length` tokens, where the kernel
    needs one: from the window's own length on."""
    window = window_of(d, number)
    return window is not None and window <= length
