"""The memory of a plan in one call, for a notebook: `from studio import estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.defaults import RunFacts, cpu_has_bf16, resolve, worst_need
from studio.errors import Reason, StudioError
from studio.memory.need import Need
from studio.models import catalogue
from studio.models.config import ModelFacts, read_config
from studio.models.locate import locate
from studio.names import parse
from studio.plan import parse_request


def estimate(model: str, method: str = "lora", learned: float = 1.0, **settings: Any) -> Need:
    """What the largest step of a plan needs, in bytes by part; nothing is loaded.

    Args:
        model: `starter`, a folder, the path of a config.json, or a hub model that is proposed or on disk.
        method: Id of a tuning method.
        learned: Share of a row's tokens that carry loss.
        settings: As `--set` takes them: `batch`, `seq`, `rank`, `device`, ...; what is left out is chosen.

    Raises:
        StudioError: `model_not_counted` where the number of weights is not known; and those of
            `studio.names.parse`, `studio.models.locate.locate`, `studio.models.config.read_config` and
            `studio.plan.parse_request`.
    """
    plan = parse_request(model, "", method, set=settings)
    device = plan.settings.device or "cpu"
    known = RunFacts(
        rows=10_000,  # enough that their number decides nothing
        heldout_rows=0,
        longest=None,
        p95=None,
        model=_sizes(model),
        device=device,
        device_reason=Reason("device_asked", {"device": device}),
        cores=1,
        free_bytes=None,
        fast_bf16=cpu_has_bf16() if device == "cpu" else True,
        learned=learned,
    )
    need = worst_need(resolve(plan, known)[0], known)
    if need is None:
        assert known.model is not None
        raise StudioError("model_not_counted", name=model, type=known.model.model_type)
    return need


def _sizes(model: str) -> ModelFacts:
    name = parse(model)
    if (entry := catalogue.find(str(name))) is not None:
        return entry.facts
    if name.kind == "path" and Path(name.value).exists():
        return read_config(Path(name.value))
    return read_config(locate(name))
