"""What the studio chooses where the person leaves a setting open, each choice with its reason.

Pure: everything it needs to know of the machine, the data and the model is in `RunFacts`. The words of the
reasons live in i18n under `reason.<code>`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from studio.errors import Reason
from studio.memory.need import Need
from studio.memory.verdict import TIGHT, need_of, within
from studio.models.config import ModelFacts
from studio.plan import USUAL_OPTIMIZER, Plan, methods

BATCH = 8
# Rows that a run should see in all, until a style or a format settles: a narrow model needs more of them.
ROW_VISITS = 1500
ROW_VISITS_NARROW = 4000
MOST_EPOCHS = 30
FEWEST_STEPS_PER_EPOCH = 4
# Rows up to here are never cut; a longer tail is worth cutting, since a step must hold its longest row.
ALWAYS_WHOLE = 2048
SEQ_UNKNOWN = 1024
# Below this hidden size 16-bit arithmetic gains next to nothing on a CPU (8-10% a step at 192).
NARROW = 256
MOST_EVALUATIONS = 10
EVALUATION_SHARE = 0.1


@dataclass(frozen=True)
class RunFacts:
    """What the choices depend on. `longest` and `p95` are tokens per row, None while there is no tokenizer on
    disk yet; `model` is None while its config is not known; `fast_bf16`: the device computes faster in
    bfloat16; `learned` is the share of a row's tokens that carry loss; no row has more than `most_tokens`
    (None: not all were looked at); `rows` is 0 where they could not be read; `capacity`: all bytes of a GPU
    that is here, `capability`: its compute capability."""

    rows: int
    heldout_rows: int
    longest: int | None
    p95: int | None
    model: ModelFacts | None
    device: str
    device_reason: Reason
    cores: int
    free_bytes: int | None
    fast_bf16: bool
    learned: float
    most_tokens: int | None = None
    capacity: int | None = None
    capability: tuple[int, int] | None = None


Choice = tuple[Any, Reason]


def resolve(plan: Plan, facts: RunFacts) -> tuple[Plan, dict[str, Reason]]:
    """The plan with no common setting left open, nor one of its method that depends on the model, and the
    reason of every choice by the setting's address.

    `steps` is what the run goes by; `epochs` follows from it or it from `epochs`. What the person set stays,
    but for what the method has no use for: that is switched off, with the reason.
    """
    reasons: dict[str, Reason] = {}
    method = methods.get(plan.method)
    if plan.settings.gradient_checkpointing and not method.backward_through_base:
        plan = plan.with_settings(gradient_checkpointing=False)
        reasons["gradient_checkpointing"] = Reason("checkpointing_nothing_kept", {"method": method.id})
    for key, choose in _CHOICES.items():
        if getattr(plan.settings, key) is None:
            value, reasons[key] = choose(plan, facts)
            plan = plan.with_settings(**{key: value})
    if method.choose is not None and facts.model is not None:
        chosen, found = method.choose(plan.method_params, facts.model)
        plan = replace(plan, method_params=chosen)
        reasons |= found
    return plan, reasons


def worst_need(plan: Plan, facts: RunFacts) -> Need | None:
    """What the plan's largest step needs: its longest row as often as the batch is large. None where the
    model's size is not known."""
    largest = largest_step(plan, facts.rows, facts.most_tokens)
    return need_of(largest, facts.model, facts.learned, facts.capacity, facts.capability)


def largest_step(plan: Plan, rows: int, most_tokens: int | None) -> Plan:
    """The plan with its length at that of the longest row which it can meet, and no more rows in a batch than
    there are. `rows` and `most_tokens` as in `RunFacts`."""
    seq, batch = plan.settings.seq, plan.settings.batch
    assert seq is not None
    assert batch is not None
    most = seq if most_tokens is None else most_tokens
    return plan.with_settings(seq=min(seq, most), batch=min(batch, rows or batch))


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16, AMX, Arm's BF16)."""
    if not cpuinfo.is_file():
        return False
    words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def _device(plan: Plan, facts: RunFacts) -> Choice:  # noqa: ARG001
    return facts.device, facts.device_reason


def _seq(plan: Plan, facts: RunFacts) -> Choice:  # noqa: ARG001
    context = (facts.model.context if facts.model else None) or SEQ_UNKNOWN
    if facts.longest is None or facts.p95 is None:
        seq = min(SEQ_UNKNOWN, context)
        return seq, Reason("seq_unknown", {"seq": seq})
    if facts.longest > context:
        return context, Reason("seq_context", {"seq": context, "longest": facts.longest})
    if facts.longest <= ALWAYS_WHOLE:
        seq = min(_round_up(facts.longest, 8), context)
        return seq, Reason("seq_longest_row", {"seq": seq, "longest": facts.longest})
    seq = min(max(_round_up(facts.p95, 64), ALWAYS_WHOLE), context)
    return seq, Reason("seq_most_rows", {"seq": seq, "longest": facts.longest, "p95": facts.p95})


def _precision(plan: Plan, facts: RunFacts) -> Choice:
    on_cpu = plan.settings.device == "cpu"
    if not facts.fast_bf16:
        return "fp32", Reason("precision_no_bf16", {"device": plan.settings.device})
    if on_cpu and facts.model and facts.model.hidden < NARROW:
        return "fp32", Reason("precision_small_model", {"hidden": facts.model.hidden})
    return "mixed", Reason("precision_mixed", {"device": plan.settings.device})


def _adapter_dtype(plan: Plan, facts: RunFacts) -> Choice:  # noqa: ARG001
    if plan.settings.precision == "bf16":
        return "bf16", Reason("adapter_dtype_follows", {})
    return "fp32", Reason("adapter_dtype_fp32", {})


def _optimizer(plan: Plan, facts: RunFacts) -> Choice:  # noqa: ARG001
    """Who holds the base in 4 bit is short of memory; on a CPU there is nothing to page to."""
    in_4_bit = methods.get(plan.method).base_quantisation(plan.method_params) is not None
    if in_4_bit and (plan.settings.device or "").startswith("cuda"):
        return "paged_adamw_8bit", Reason("optimizer_paged", {})
    return USUAL_OPTIMIZER, Reason("optimizer_usual", {})


def _batch(plan: Plan, facts: RunFacts) -> Choice:
    few = max(1, facts.rows // FEWEST_STEPS_PER_EPOCH)
    if few < BATCH:
        return few, Reason("batch_few_rows", {"batch": few, "rows": facts.rows})
    batch = BATCH
    while batch > 1 and not _fits(plan.with_settings(batch=batch), facts):
        batch //= 2
    if batch == 1 and not _fits(plan.with_settings(batch=1), facts, share=1.0):
        return batch, Reason("batch_none_fits", {"free_bytes": facts.free_bytes})
    if batch < BATCH:
        return batch, Reason("batch_memory", {"batch": batch, "free_bytes": facts.free_bytes})
    if plan.settings.device == "cpu":
        return batch, Reason("batch_cpu", {"batch": batch, "cores": facts.cores})
    return batch, Reason("batch_usual", {"batch": batch})


def _epochs(plan: Plan, facts: RunFacts) -> Choice:
    steps = plan.settings.steps
    if steps is not None:
        epochs = float(f"{steps / _steps_per_epoch(plan, facts):.4g}")
        return epochs, Reason("epochs_from_steps", {"steps": steps})
    narrow = facts.model is not None and facts.model.hidden < NARROW
    visits = ROW_VISITS_NARROW if narrow else ROW_VISITS
    rounds = min(MOST_EPOCHS, max(1, round(visits / max(1, facts.rows))))
    code = "epochs_once" if rounds == 1 else "epochs_few_rows"
    return float(rounds), Reason(code, {"epochs": rounds, "rows": facts.rows})


def _steps(plan: Plan, facts: RunFacts) -> Choice:
    epochs = plan.settings.epochs
    assert epochs is not None, "epochs are chosen before steps"
    steps = max(1, ceil(epochs * _steps_per_epoch(plan, facts)))
    return steps, Reason("steps_from_epochs", {"steps": steps, "epochs": epochs, "rows": facts.rows})


def _lr(plan: Plan, facts: RunFacts) -> Choice:
    """LoRA's best rate falls with the width of the model, about as hidden^-0.78, and is ten times that of
    training the weights themselves ("LoRA Without Regret", Thinking Machines, 2025)."""
    method = methods.get(plan.method)
    scale = plan.optimizer.lr_scale
    if method.capable("trains_base", plan.method_params):
        scale *= 0.1
    if facts.model is None:
        return _two_digits(2e-4 * scale), Reason("lr_usual", {})
    lr = min(2e-3, max(1e-4, 5e-4 * (2000 / facts.model.hidden) ** 0.78))
    return _two_digits(lr * scale), Reason("lr_by_width", {"hidden": facts.model.hidden})


def _optimizer_impl(plan: Plan, facts: RunFacts) -> Choice:  # noqa: ARG001
    best = plan.optimizer.implementations[0]
    return best, Reason(f"optimizer_impl_{best}", {})


def _eval_every(plan: Plan, facts: RunFacts) -> Choice:
    """Up to ten looks, fewer where they would take more than a tenth of the run (a forward pass costs about a
    third of a training step)."""
    steps, batch = plan.settings.steps, plan.settings.batch
    assert steps is not None
    assert batch is not None
    if not facts.heldout_rows:
        return steps, Reason("eval_nothing_held_out", {})
    trained = steps * batch * plan.settings.accumulation
    affordable = int(EVALUATION_SHARE * trained / (facts.heldout_rows / 3))
    looks = max(2, min(MOST_EVALUATIONS, affordable))
    every = max(1, ceil(steps / looks))
    return every, Reason("eval_every_share", {"every": every, "steps": steps})


# In this order: a later choice may look at an earlier one.
_CHOICES: dict[str, Callable[[Plan, RunFacts], Choice]] = {
    "device": _device,
    "seq": _seq,
    "precision": _precision,
    "adapter_dtype": _adapter_dtype,
    "optimizer": _optimizer,
    "optimizer_impl": _optimizer_impl,
    "batch": _batch,
    "epochs": _epochs,
    "steps": _steps,
    "lr": _lr,
    "eval_every": _eval_every,
}


def _fits(plan: Plan, facts: RunFacts, share: float = TIGHT) -> bool:
    need = worst_need(plan, facts)
    return need is None or facts.free_bytes is None or within(need, share * facts.free_bytes)


def _steps_per_epoch(plan: Plan, facts: RunFacts) -> int:
    assert plan.settings.batch is not None
    return max(1, ceil(facts.rows / (plan.settings.batch * plan.settings.accumulation)))


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")
