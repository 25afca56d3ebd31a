"""A training run: find or fetch the base, make sure that nothing changed, train, say what came of it."""

from __future__ import annotations

import gc
import importlib
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from backend import probing
from backend.chat.during import RunChat
from backend.inputs import TOKENIZER, base_hash, folder_if_on_disk, frozen_hashes, renderer_hashes
from backend.jobs.kinds import Made, Outcome, Stopped, Work
from backend.jobs.less_memory import after_shortage, reduced, rows_at_once
from backend.memory_history import stored
from backend.store.lineage import compared, read
from studio.errors import StudioError
from studio.models import hub
from studio.models.locate import locate
from studio.names import parse
from studio.plan import Plan

if TYPE_CHECKING:
    from studio.train.run import TrainResult

_TRAINER = "studio.train.run"


class TrainKind:
    id = "train"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`."""
        # torch, transformers and peft take seconds to import; files are read and hashed meanwhile.
        threading.Thread(target=importlib.import_module, args=(_TRAINER,), daemon=True).start()
        plan = Plan.from_dict(work.job.plan)
        folder = work.home.run(work.job.id)
        _refuse_other_rows(work, folder)
        model = model_folder(work, plan.model)
        base = _identify(work, folder, model)
        return _train(work, plan, folder, model, base)


KIND = TrainKind()


def _refuse_other_rows(work: Work, folder: Path) -> None:
    if _differ(work, frozen_hashes(folder)):
        raise StudioError("rows_changed", run=work.job.id, path=str(folder))


def _differ(work: Work, found: Mapping[str, str]) -> bool:
    """Whether something is not what the job was started with, or what an attempt before found."""
    return any(work.job.hashes.get(key, value) != value for key, value in found.items())


def model_folder(work: Work, name: str) -> Path:
    """The base on disk, fetched from the hub first where it is not."""
    if (folder := folder_if_on_disk(name, work.home.runs)) is not None:
        return folder
    parsed = parse(name)

    told = False

    def progress(done: int, total: int) -> None:
        nonlocal told
        if not told:
            told = True
            work.sink.metric(0, "total_bytes", total)
        work.sink.phase("downloading", done / total if total else None)
        if work.control.wish() == "stop":
            raise Stopped

    work.sink.phase("downloading", 0.0)
    hub.download(parsed.value, parsed.revision, progress)
    return locate(name)


def _identify(work: Work, folder: Path, model: Path) -> str:
    """The base's hash; it, tokenizer and template are the same as in the attempts before, and stored."""
    work.sink.phase("loading", None)
    base = base_hash(model, work.home)
    if _differ(work, {"base": base}):
        raise StudioError("base_changed", run=work.job.id, model=work.job.plan["model"], path=str(model))
    found = renderer_hashes(folder, model, work.home)
    if _differ(work, found):
        raise StudioError("tokenizer_changed", run=work.job.id, path=str(folder / TOKENIZER))
    work.writer.hashes({"base": base, **found})
    work.writer.statements(
        read(work.job.id, "base", "base", base, str(model), {"model": work.job.plan["model"]})
    )
    return base


def _train(work: Work, plan: Plan, folder: Path, model: Path, base: str) -> Outcome:
    from studio.train.run import train

    try:
        result = train(
            plan,
            model_folder=model,
            folder=folder,
            sink=work.sink,
            control=work.control,
            attempt=work.job.attempt,
            device=worker_device(work),
            base_hash=base,
            micro_batch=rows_at_once(work.job) or _probed_rows(work),
            guest=RunChat(work.home, work.job.id, base),
        )
    except StudioError as error:
        if error.code != "memory_full":
            raise
        shortage = error.facts
    else:
        return _ended(work, result, base)
    _let_go()
    return after_shortage(work.job, shortage)


def worker_device(work: Work) -> str:
    """The job's device as torch calls it here: a worker sees its own GPU only, as the first one."""
    device = work.job.devices[0] if work.job.devices else "cpu"
    return "cuda:0" if device.startswith("cuda:") else device


def card(device: str) -> str | None:
    """The name of the GPU that worked (`device` as torch calls it here), which what was measured is kept by:
    another may take its place. None for what is no GPU of torch's."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None


def _probed_rows(work: Work) -> int | None:
    """Rows at a time where a probe before this run found no room for the whole batch."""
    shortage = probing.shortage_before(work.store, work.job)
    if shortage is None or not shortage["loaded"] or shortage["micro_batch"] == 1:
        return None
    told = reduced(shortage, times=0) | {"probed": True}
    if work.job.attempt == 1:
        work.sink.event("memory_reduced", told)
    rows: int = told["micro_batch"]
    return rows


def _let_go() -> None:
    """Give back what the failed attempt holds: the next one may begin before this process has ended."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _ended(work: Work, result: TrainResult, base: str) -> Outcome:
    if result.predicted is not None:
        both = stored(result.predicted, result.measured)
        work.writer.statements([compared(work.job.id, work.job.attempt, result.predicted.source, *both)])
    made: tuple[Made, ...] = ()
    if result.state == "done" and result.adapter is not None:
        made = (Made("adapter", str(result.adapter), None, {"base": base, "steps": result.steps}),)
    facts = {
        "steps": result.steps,
        "loss": result.loss,
        "eval_loss": result.eval_loss,
        "best_step": result.best_step,
        "adapter": str(result.adapter) if result.adapter else None,
        "peak_memory_bytes": result.peak_memory_bytes,
        "spent": result.spent and asdict(result.spent),
        "micro_batch": result.micro_batch,
        "card": card(worker_device(work)),
    }
    return Outcome("finish" if result.state == "done" else "stop", facts, made)
