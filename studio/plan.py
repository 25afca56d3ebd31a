"""A plan: everything a training run needs to know, typed, checked together, saved as JSON.

A request is what a person gives: model, dataset, method, objective and a flat mapping of settings. A setting
is addressed by its name if only one params dataclass has it, else as `method.rank`, `objective.beta`,
`optimizer.momentum`. What is left out stays None here; `studio.defaults.resolve` chooses it and says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio import params
from studio.errors import PlanError, Problem
from studio.params import ParamInfo, param
from studio.registry import Registry

PLAN_VERSION = 1
# Its params stand in while the optimizer is left open: what the studio chooses then shares them.
USUAL_OPTIMIZER = "adamw"

methods: Registry[Any] = Registry("methods")
objectives: Registry[Any] = Registry("objectives")
optimizers: Registry[Any] = Registry("optimizers")


@dataclass(frozen=True)
class Settings:
    """Settings that every run has, whatever its method."""

    steps: int | None = param(None, "Optimizer steps in all; set this or epochs.", low=1, high=10_000_000)
    epochs: float | None = param(None, "How often the run goes through all rows.", low=1e-9, high=10_000_000)
    batch: int | None = param(None, "Rows per forward pass and device.", low=1, high=4096)
    accumulation: int = param(
        1, "Forward passes added up before each optimizer step.", low=1, high=4096, expert=True
    )
    seq: int | None = param(
        None,
        "Longest row in tokens; what is longer is cut at the end.",
        title="Sequence length",
        low=8,
        high=1_048_576,
    )
    lr: float | None = param(
        None, "Step size of the optimizer at its highest.", title="Learning rate", low=0, high=10
    )
    seed: int = param(0, "Same seed, same machine, same result.", low=0, high=2**31 - 1)
    device: str | None = param(None, "Where the run computes: cpu, cuda:0, mps.", expert=True)
    precision: str | None = param(
        None,
        "Number format: mixed keeps trained weights in 32 bit and computes in 16 bit.",
        choices=("bf16", "mixed", "fp32"),
        expert=True,
    )
    optimizer: str | None = param(None, "The rule that turns gradients into steps.", expert=True)
    optimizer_impl: str | None = param(
        None, "How the optimizer's arithmetic is run.", choices=("fused", "foreach", "loop"), expert=True
    )
    schedule: str = param(
        "cosine",
        "How the learning rate changes over the run.",
        choices=("cosine", "linear", "constant"),
        expert=True,
    )
    warmup: float = param(
        0.03, "Share of the steps in which the learning rate rises from zero.", low=0, high=1, expert=True
    )
    weight_decay: float = param(0.0, "Pulls trained weights toward zero.", low=0, high=1, expert=True)
    grad_clip: float = param(
        1.0,
        "Longest gradient allowed, as a norm; 0 switches it off.",
        title="Gradient clipping",
        low=0,
        high=1e6,
        expert=True,
    )
    gradient_checkpointing: bool = param(
        False, "Computes activations twice instead of keeping them: less memory, slower.", expert=True
    )
    attention: str = param("sdpa", "The attention kernel.", choices=("sdpa", "flash", "eager"), expert=True)
    loss_kernel: str = param(
        "labelled",
        "How the loss is computed: over the learned positions only, in chunks, or over all of them.",
        choices=("labelled", "chunked", "full"),
        expert=True,
    )
    adapter_dtype: str | None = param(
        None, "Number format of the adapter.", choices=("bf16", "fp32"), expert=True
    )
    eval_every: int | None = param(
        None, "Steps between two looks at the held-out rows.", low=1, high=10_000_000, expert=True
    )
    keep_checkpoints: int = param(
        2, "How many of the latest checkpoints stay on disk.", low=1, high=1000, expert=True
    )


@dataclass(frozen=True)
class Plan:
    """What one run does. None in a setting: not chosen yet (see `studio.defaults.resolve`)."""

    model: str
    dataset: str
    method: str
    objective: str
    settings: Settings
    method_params: Any
    objective_params: Any
    optimizer_params: Any

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `Plan.from_dict` reads it back."""
        return {
            "version": PLAN_VERSION,
            "model": self.model,
            "dataset": self.dataset,
            "method": self.method,
            "objective": self.objective,
            "settings": params.to_dict(self.settings),
            "method_params": params.to_dict(self.method_params),
            "objective_params": params.to_dict(self.objective_params),
            "optimizer_params": params.to_dict(self.optimizer_params),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Plan:
        """Read a saved plan; `PlanError` with all problems if it doesn't fit this version's declarations."""
        spaces = _spaces(
            body["method"], body["objective"], body["settings"].get("optimizer") or USUAL_OPTIMIZER
        )
        parts: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, (key, declared) in _PARTS.items():
            parts[key], found = params.parse(spaces[name], body[declared], prefix=_prefix(name))
            problems += found
        if problems:
            raise PlanError(problems)
        return cls(body["model"], body["dataset"], body["method"], body["objective"], **parts)

    @property
    def optimizer(self) -> Any:
        """The optimizer's declaration; the usual one while it is left open."""
        return optimizers.get(self.settings.optimizer or USUAL_OPTIMIZER)

    def with_settings(self, **changes: Any) -> Plan:
        """A copy with some of the common settings replaced."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **changes))


_PARTS = {
    "plan": ("settings", "settings"),
    "method": ("method_params", "method_params"),
    "objective": ("objective_params", "objective_params"),
    "optimizer": ("optimizer_params", "optimizer_params"),
}


def parse_request(
    model: str,
    dataset: str,
    method: str = "lora",
    objective: str = "sft",
    set: Mapping[str, Any] | None = None,
) -> Plan:
    """A plan from what a person gave; `PlanError` reports all problems together.

    `set` maps addresses (`rank`, `method.rank`, `batch`) to values or texts; None leaves a setting open.
    """
    values = {address: value for address, value in (set or {}).items() if value is not None}
    optimizer = values.get("optimizer", values.get("plan.optimizer"))
    usual = params.automatic(optimizer)
    spaces = _spaces(method, objective, USUAL_OPTIMIZER if usual else str(optimizer).strip())
    sorted_values, problems = _sort(values, spaces)
    parts: dict[str, Any] = {}
    for name, (key, _) in _PARTS.items():
        parts[key], found = params.parse(spaces[name], sorted_values[name], prefix=_prefix(name))
        problems += found
    plan = Plan(model, dataset, method, objective, **parts)
    problems += _conflicts(plan)
    if problems:
        raise PlanError(problems)
    return plan


def addresses(method: str, objective: str = "sft", optimizer: str = USUAL_OPTIMIZER) -> dict[str, ParamInfo]:
    """Every setting of a plan by the address that `--set` takes: the short name where it is unique."""
    spaces = _spaces(method, objective, optimizer)
    counts: dict[str, int] = {}
    for space in spaces.values():
        for info in params.describe(space):
            counts[info.name] = counts.get(info.name, 0) + 1
    return {
        info.name if counts[info.name] == 1 or name == "plan" else f"{name}.{info.name}": info
        for name, space in spaces.items()
        for info in params.describe(space)
    }


def _spaces(method: str, objective: str, optimizer: str) -> dict[str, type]:
    return {
        "plan": Settings,
        "method": methods.get(method).params,
        "objective": objectives.get(objective).params,
        "optimizer": optimizers.get(optimizer).params,
    }


def _prefix(name: str) -> str:
    return "" if name == "plan" else f"{name}."


def _sort(
    values: Mapping[str, Any], spaces: Mapping[str, type]
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    names = {space: {i.name for i in params.describe(cls)} for space, cls in spaces.items()}
    out: dict[str, dict[str, Any]] = {space: {} for space in spaces}
    problems: list[Problem] = []
    for address, value in values.items():
        space, _, name = address.rpartition(".")
        owners = [space] if space in names else [s for s in names if address in names[s]]
        if not owners or (space and (space not in names or name not in names[space])):
            known = sorted({n for s in names.values() for n in s})
            problems.append(Problem("unknown_setting", address, {"known": known}))
        elif len(owners) > 1 and "plan" not in owners:
            problems.append(
                Problem("setting_ambiguous", address, {"choices": [f"{o}.{address}" for o in owners]})
            )
        else:
            owner = "plan" if "plan" in owners else owners[0]
            if name in out[owner]:
                problems.append(Problem("setting_twice", address))
            out[owner][name] = value
    return out, problems


def _conflicts(plan: Plan) -> list[Problem]:
    if plan.settings.steps is not None and plan.settings.epochs is not None:
        return [Problem("steps_and_epochs", "steps")]
    return []
