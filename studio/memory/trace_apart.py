"""A trace in a process of its own, so that who asks for one imports no torch.

The process is `python -m studio.memory.trace`: a JSON object in, one line of JSON out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from studio.errors import StudioError
from studio.memory.cards import Capability
from studio.memory.need import Need
from studio.plan import Plan

_MOST_SECONDS = 600


def trace_apart(
    plan: Plan, config: Mapping[str, Any], learned: float, capability: Capability | None = None
) -> Need:
    """See `studio.memory.trace.trace`. Raises what that raises, and StudioError `trace_failed`."""
    request = json.dumps(
        {"plan": plan.as_dict(), "config": dict(config), "learned": learned, "capability": capability}
    )
    command = [sys.executable, "-m", "studio.memory.trace"]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StudioError("trace_failed", detail=f"no end within {_MOST_SECONDS} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise StudioError("trace_failed", detail=said[-1] if said else f"exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise StudioError.from_dict(answer["error"])
    return Need.from_dict(answer)
