"""What two plans must share to need the same memory, as one hash."""

from __future__ import annotations

from dataclasses import asdict

from studio.identity import json_hash
from studio.models.config import ModelFacts
from studio.plan import Plan

_SETTINGS = (
    "batch",
    "seq",
    "precision",
    "optimizer",
    "optimizer_impl",
    "gradient_checkpointing",
    "attention",
    "loss_kernel",
    "adapter_dtype",
    "device",
)


def memory_key(plan: Plan, facts: ModelFacts, learned: float) -> str:
    """Of a resolved plan on a model of these sizes; of the data only the longest row's length counts, and the
    share of its tokens that is `learned`."""
    body, sizes = plan.as_dict(), asdict(facts) | {"survey": facts.survey and facts.survey.as_dict()}
    del sizes["notes"]  # words about the sizes
    return json_hash(
        {
            "facts": sizes,
            "learned": learned,
            "settings": {name: body["settings"][name] for name in _SETTINGS},
            # Gradients wait through the passes of a step that has several.
            "accumulates": plan.settings.accumulation > 1,
            **{
                name: body[name]
                for name in ("method", "method_params", "objective", "objective_params", "optimizer_params")
            },
        }
    )
