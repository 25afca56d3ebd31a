"""What merging an adapter into its base takes: main memory and disk. Arithmetic, no torch.

The files are rewritten tensor by tensor (`studio.merge.shards`); what was written is then compared with the
run over its base, one whole model in memory at a time (`studio.merge.verify`).
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from studio.errors import StudioError
from studio.memory.need import Need
from studio.memory.reserved import CONTEXT
from studio.memory.workload import Workload
from studio.models.config import ModelFacts
from studio.models.folder import weight_files
from studio.models.forms import linears
from studio.plan import Plan

_WIDE = 4  # merged weights are computed in 32 bit


def merging_need(plan: Plan, facts: ModelFacts, stored: int) -> Need:
    """Main memory and `disk` for writing a base with what a run learned merged into it, and comparing.

    Args:
        plan: The run's resolved plan.
        facts: The base's sizes; `parameters` must be known.
        stored: Bytes of the base's files, see `stored_bytes`.

    Raises:
        StudioError: `method_not_mergeable`.
    """
    work = Workload(plan, facts, learned=1.0)
    if not work.method.capable("mergeable", plan.method_params):
        raise StudioError("method_not_mergeable", method=work.method.title)
    assert facts.parameters is not None
    # Trained weights take the place of the base's, and are read one at a time.
    learned = 0 if work.trains_base else work.terms.trainable_params * work.terms.itemsize
    item = _WIDE if work.quantisation is None else work.frozen_itemsize
    moments = {
        "merging": {"adapter": learned, "workspace": _of_one_tensor(work)},
        "verifying": {"weights": (facts.parameters + sum(facts.beside)) * item, "adapter": learned},
    }
    moment, parts = max(moments.items(), key=lambda entry: sum(entry[1].values()))
    tensors = sum(parts.values())
    low, high = CONTEXT["cpu"]
    found = {**{name: size for name, size in parts.items() if size}, "context": (low + high) // 2}
    return Need("estimate", found, moment, (tensors + low, tensors + high), disk=stored)


def _of_one_tensor(work: Workload) -> int:
    """Of the largest tensor that is changed: as stored, widened, the change, and what it becomes."""
    linear = (inputs * outputs for _, inputs, outputs in linears(work.facts))
    largest = max(*linear, *(prod(shape) for shape in work.terms.trainable))
    change = work.terms.itemsize if work.trains_base else 2 * _WIDE
    return largest * (work.facts.itemsize + _WIDE + change)


def stored_bytes(folder: Path | None, facts: ModelFacts) -> int:
    """Of the files with a model's weights: as they are in its folder, else as its config says."""
    if folder is None:
        assert facts.parameters is not None
        return (facts.parameters + sum(facts.beside)) * facts.itemsize
    return sum((folder / name).stat().st_size for name in weight_files([f.name for f in folder.iterdir()]))
