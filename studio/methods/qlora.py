"""QLoRA: LoRA over a base that is held in 4 bit (Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from studio.methods.lora import EXTENSION as LORA
from studio.methods.lora import STARTS, LoraParams, check, offers
from studio.models.quantisation import DOUBLE_HELP, KINDS, QUANT_HELP, quantisation
from studio.params import param


@dataclass(frozen=True)
class QloraParams(LoraParams):
    # What is taken out of a base in 4 bit is rounded anew, and no adapter could say that change.
    init: str = param(
        "default",
        "How the trained matrices begin. default, gaussian and orthogonal draw them at random; eva first "
        "looks at some rows of the data; loftq begins with what 4 bit lost of the weights, and so nearer to "
        "the model as it was.",
        title="Initialisation",
        choices=tuple(name for name, start in STARTS.items() if not start.rewrites),
        never={name: "init_rewrites_4_bit" for name, start in STARTS.items() if start.rewrites},
        expert=True,
    )
    quant: str = param("nf4", QUANT_HELP, title="4-bit format", choices=KINDS, expert=True)
    double_quant: bool = param(True, DOUBLE_HELP, title="Double quantisation", expert=True)


EXTENSION = replace(
    LORA,
    id="qlora",
    title="QLoRA",
    summary="LoRA over a model held in 4 bit. The weights need about a quarter of their memory in 16 bit and "
    "are a little rounded, and each step is somewhat slower. Take it where LoRA does not fit.",
    params=QloraParams,
    torch="studio.train.lora:QloraTuner",
    rewrites_base=False,
    serving="own_copy",
    check=partial(check, packed=True),
    offers=partial(offers, packed=True),
    quantisation=quantisation,
)
