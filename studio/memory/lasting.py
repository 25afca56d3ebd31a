"""What lives throughout a step after the first: weights, adapter, optimizer state. No torch."""

from __future__ import annotations

from studio.memory.cards import blas_workspace
from studio.memory.workload import Workload
from studio.models.forms import linear_sizes
from studio.models.quantisation import quantised_bytes
from studio.models.weights import numbers, weights_of


def lasting_bytes(work: Workload) -> dict[str, int]:
    """Bytes by part."""
    terms, plan = work.terms, work.plan
    state = plan.optimizer.state_bytes(terms.trainable, terms.itemsize, plan.optimizer_params)
    return {
        "weights": _base(work) + beside_bytes(work) + _widened_norms(work),
        "adapter": 0 if work.trains_base else terms.trained_bytes,
        "optimizer": state - paged_bytes(work) if work.switches.state_at_peak else 0,
        "workspace": blas_workspace(
            plan.settings.device, handles=2, capability=work.capability
        ),  # of the forward thread and autograd's
    }


def paged_bytes(work: Workload) -> int:
    """What of the optimizer's state a GPU's driver may move to main memory: no counter of torch's has it."""
    if work.device != "cuda" or not work.switches.state_at_peak:
        return 0
    terms, plan = work.terms, work.plan
    paged: int = plan.optimizer.paged_bytes(terms.trainable, terms.itemsize, plan.optimizer_params)
    return paged


def _base(work: Workload) -> int:
    """The model whose text tower is tuned. Where `mixed` trains it, what stays frozen is in 16 bit."""
    facts = work.facts
    assert facts.parameters is not None
    if work.quantisation is None:
        frozen = facts.parameters - work.terms.trainable_params if work.trains_base else 0
        return facts.parameters * work.base_itemsize - frozen * (work.base_itemsize - work.frozen_itemsize)
    wide = _wide(work)
    held = quantised_bytes(facts, facts.parameters, work.quantisation, wide)
    if work.switches.experts_quantised:
        experts = facts.layers * facts.own["num_local_experts"] * 3 * facts.hidden * facts.intermediate
        held -= int(experts * (wide - work.quantisation.bits_per_weight / 8))
    return held


def layer_bytes(work: Workload) -> int:
    """What one decoder layer of the base occupies."""
    count = numbers(weights_of(work.facts).layer)
    if work.quantisation is None:
        return count * work.base_itemsize
    matrices = sum(inputs * outputs for inputs, outputs in linear_sizes(work.facts).values())
    return int(matrices * work.quantisation.bits_per_weight / 8) + (count - matrices) * _wide(work)


def _wide(work: Workload) -> int:
    """Bytes per number of what a base in 4 bit holds otherwise."""
    return 4 if work.switches.kbit_casts == "all" else work.base_itemsize


def beside_bytes(work: Workload) -> int:
    """Weights of towers that are loaded with the text's: frozen, their matrices in 4 bit where its are."""
    (matrices, rest), item = work.facts.beside, work.frozen_itemsize
    bits = work.quantisation.bits_per_weight if work.quantisation else 8 * item
    return int(matrices * bits / 8) + rest * item


def _widened_norms(work: Workload) -> int:
    """What norms take beyond 16 bit where they alone go to 32."""
    if work.switches.kbit_casts != "norms":
        return 0
    return 2 * work.facts.hidden * (2 * work.facts.layers + 1)
