"""The memory of a plan in one call, for a notebook: `from studio import estimate`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from studio.defaults import RunFacts, cpu_has_bf16, resolve, worst_need
from studio.errors import PlanError, Reason, StudioError
from studio.generate.precision import choose_precision, stored_precision, weights_bytes
from studio.memory.answering import answering_need, usual_context
from studio.memory.merging import merging_need, stored_bytes
from studio.memory.need import Need
from studio.models import catalogue
from studio.models.config import ModelFacts, read_config
from studio.models.locate import locate
from studio.models.survey_apart import Surveys
from studio.names import parse
from studio.plan import Plan, methods, parse_request

Purpose = Literal["train", "chat", "merge"]


def estimate(
    model: str, method: str | None = None, learned: float = 1.0, purpose: Purpose = "train", **settings: Any
) -> Need:
    """What a plan needs, in bytes by part; nothing is loaded.

    Args:
        model: `starter`, a folder, the path of a config.json, or a hub model that is proposed or on disk. One
            of a family that is not known is built once without weights, which takes seconds.
        method: Id of a tuning method; left out: LoRA, for `chat` none.
        learned: Share of a row's tokens that carry loss.
        purpose: `train`: the largest step; `chat`: answering `batch` prompts, each of `seq` tokens with its
            answer; `merge`: writing the model with what was learned merged into it, of which `disk` are the
            bytes written.
        settings: As `--set` takes them: `batch`, `seq`, `rank`, `device`, ...; what is left out is chosen.

    Raises:
        PlanError: where the settings name what the model has not.
        StudioError: `model_not_counted` where the number of weights is not known; `method_not_mergeable`; and
            those of `studio.names.parse`, `studio.models.locate.locate`, `studio.models.config.read_config`
            and `studio.plan.parse_request`.
    """
    plan = parse_request(model, "", method or "lora", set=settings)
    facts = _sizes(model)
    if facts.parameters is None:
        raise StudioError("model_not_counted", name=model, type=facts.model_type)
    _, problems = methods.get(plan.method).checked(plan.method_params, facts)
    if problems:
        raise PlanError(problems)
    device = plan.settings.device or "cpu"
    if purpose == "chat" and method is None:
        return _noted(_answering(facts, device, plan, None), facts)
    known = _known(facts, device, learned)
    resolved, _ = resolve(plan, known)
    if purpose == "chat":
        return _noted(_answering(facts, device, plan, resolved), facts)
    if purpose == "merge":
        return _noted(merging_need(resolved, facts, stored_bytes(_folder(model), facts)), facts)
    need = worst_need(resolved, known)
    assert need is not None, "the weights are counted"
    return _noted(need, facts)


def _noted(need: Need, facts: ModelFacts) -> Need:
    """With what it does not say of the model among its reasons."""
    return replace(need, reasons=need.reasons | {note.code: note for note in facts.notes})


def _known(facts: ModelFacts, device: str, learned: float) -> RunFacts:
    return RunFacts(
        rows=10_000,  # enough that their number decides nothing
        heldout_rows=0,
        longest=None,
        p95=None,
        model=facts,
        device=device,
        device_reason=Reason("device_asked", {"device": device}),
        cores=1,
        free_bytes=None,
        fast_bf16=_fast_bf16(device),
        learned=learned,
    )


def _answering(facts: ModelFacts, device: str, asked: Plan, tuned: Plan | None) -> Need:
    precision, _ = choose_precision(
        stored_precision(facts), weights_bytes(facts), device, _fast_bf16(device), free_bytes=sys.maxsize
    )
    context = asked.settings.seq or usual_context(facts)
    return answering_need(facts, precision, asked.settings.batch or 1, context, device, tuned)


def _folder(model: str) -> Path | None:
    """Where its files are, if on this computer."""
    try:
        return locate(parse(model))
    except StudioError:  # its sizes are known without it
        return None


def _fast_bf16(device: str) -> bool:
    return cpu_has_bf16() if device == "cpu" else True


def _sizes(model: str) -> ModelFacts:
    name = parse(model)
    if (entry := catalogue.find(str(name))) is not None:
        return entry.facts
    if name.kind == "path" and Path(name.value).exists():
        return read_config(Path(name.value), _surveys())
    return read_config(locate(name), _surveys())


def _surveys() -> Surveys:
    """Kept for all homes: the studio need not have one here."""
    import platformdirs

    return Surveys(Path(platformdirs.user_cache_dir("finetune-studio", appauthor=False)) / "surveys")
