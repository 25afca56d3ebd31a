"""Plans whose memory the tests compute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from studio.models.config import ModelFacts
from studio.plan import Plan, methods, parse_request

METHODS = ("full", "lora", "qlora", "lst", "qst")


def plan_of(method: str, facts: ModelFacts, **settings: Any) -> Plan:
    """A resolved plan on the processor: two rows of 192 tokens in 16 bit, unless said otherwise."""
    values = {"batch": 2, "seq": 192, "lr": 1e-4, "steps": 1, "precision": "bf16", "device": "cpu"}
    plan = parse_request("path:tiny", "rows", method, set={**values, "optimizer_impl": "fused", **settings})
    choose = methods.get(method).choose
    return replace(plan, method_params=choose(plan.method_params, facts)[0]) if choose else plan
