"""QST: a side network beside a model that is held in 4 bit (Zhang et al. 2024, arXiv 2401.07159)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.methods import Method
from studio.methods.lst import LstParams, choose, memory
from studio.models.quantisation import DOUBLE_HELP, KINDS, QUANT_HELP, quantisation
from studio.params import param


@dataclass(frozen=True)
class QstParams(LstParams):
    quant: str = param("nf4", QUANT_HELP, title="4-bit format", choices=KINDS, expert=True)
    double_quant: bool = param(True, DOUBLE_HELP, title="Double quantisation", expert=True)


EXTENSION = Method(
    id="qst",
    title="Quantised side-tuning (QST)",
    summary="Ladder side-tuning beside a model held in 4 bit: the least memory of all, and about half of "
    "QLoRA's time for a step. The result stays beside the model and cannot be merged into it. Take it for "
    "the largest model that a machine can hold.",
    params=QstParams,
    torch="studio.train.side.tuner:SideTuner",
    memory=memory,
    quantised_base=True,
    mergeable=False,
    trains_base=False,
    rewrites_base=False,
    serving="own_copy",
    choose=choose,
    quantisation=quantisation,
    backward_through_base=False,
)
