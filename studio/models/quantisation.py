"""How a base is held in 4 bit. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from studio.models.weights import Whole, matrices


@dataclass(frozen=True)
class Quantisation:
    """Linear layers in 4 bit, in blocks of 64 that share a scale (Dettmers et al. 2023, arXiv 2305.14314).

    `kind`: `nf4` (levels for normally distributed weights) or `fp4`. `double`: the scales are held in 8 bit.
    """

    kind: str
    double: bool

    @property
    def bits_per_weight(self) -> float:
        """4, and what a weight has of its block's scale: 32 bit, or 8 and a 256th of 32."""
        return 4 + (8 / 64 + 32 / (64 * 256) if self.double else 32 / 64)


def quantised_bytes(model: Whole, parameters: int, quantisation: Quantisation, itemsize: int) -> int:
    """A base of `parameters` weights whose linear layers but the head are in 4 bit, the rest `itemsize`
    bytes each."""
    quantised = matrices(model)
    return int(quantised * quantisation.bits_per_weight / 8) + (parameters - quantised) * itemsize


class QuantisedParams(Protocol):
    """Params of a method whose base is held in 4 bit."""

    @property
    def quant(self) -> str: ...
    @property
    def double_quant(self) -> bool: ...


def quantisation(params: QuantisedParams) -> Quantisation:
    """What a method's params ask for."""
    return Quantisation(params.quant, params.double_quant)


KINDS = ("nf4", "fp4")
QUANT_HELP = "The 4-bit number format of the base: nf4 fits the usual spread of weights, and is better."
DOUBLE_HELP = "Holds the scales of the 4-bit blocks in 8 bit too: a tenth less memory, no loss worth naming."
