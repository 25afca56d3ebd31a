"""QST: a side network beside a model that is held in 4 bit (Zhang et al. 2024, arXiv 2401.07159)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from studio.methods.lst import EXTENSION as LST
from studio.methods.lst import LstParams
from studio.models.quantisation import DOUBLE_HELP, KINDS, QUANT_HELP, quantisation
from studio.params import param


@dataclass(frozen=True)
class QstParams(LstParams):
    quant: str = param("nf4", QUANT_HELP, title="4-bit format", choices=KINDS, expert=True)
    double_quant: bool = param(True, DOUBLE_HELP, title="Double quantisation", expert=True)


EXTENSION = replace(
    LST,
    id="qst",
    title="Quantised side-tuning (QST)",
    summary="Ladder side-tuning beside a model held in 4 bit: the least memory of all, and about half of "
    "QLoRA's time for a step. The result stays beside the model and cannot be merged into it. Take it for "
    "the largest model that a machine can hold.",
    params=QstParams,
    serving="own_copy",
    quantisation=quantisation,
    backward_through_base=False,
)
