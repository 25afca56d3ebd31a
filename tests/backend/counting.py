"""A kind of job for the tests of the machinery: it counts steps, keeps checkpoints, and can be stuck.

Its plan: steps, step_seconds, checkpoint_every, and `at`: {step: what goes wrong there}.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from backend.jobs.kinds import Made, Outcome, Work
from studio.errors import StudioError


class CountingKind:
    id = "counting"

    def run(self, work: Work) -> Outcome:
        plan, folder = work.job.plan, work.home.run(work.job.id)
        first = _newest(folder)
        work.sink.event("started", {"from_step": first})
        for step in range(first + 1, plan["steps"] + 1):
            time.sleep(plan.get("step_seconds", 0))
            _go_wrong(plan.get("at", {}).get(str(step)), work.job.attempt)
            work.sink.metric(step, "loss", 1 / step)
            work.sink.phase("training", step / plan["steps"])
            if step % plan.get("checkpoint_every", 10) == 0:
                _save(work, folder, step)
            if work.control.wish() == "pause":
                _save(work, folder, step)
                work.sink.event("paused", {"step": step})
                work.control.wait_while_paused(lambda: False)
            if work.control.wish() == "stop":
                _save(work, folder, step)
                return Outcome("stop", {"steps": step})
        return Outcome("finish", {"steps": plan["steps"]}, (Made("adapter", str(folder / "adapter")),))


def _go_wrong(how: str | None, attempt: int) -> None:
    if how is None or attempt > 1:
        return
    if how == "bug":
        raise ZeroDivisionError("on purpose")
    if how == "error":
        raise StudioError("disk_full", path="/", needed_bytes=2, free_bytes=1)
    if how == "exit":
        os._exit(7)
    while True:  # stuck
        time.sleep(0.05)


def _save(work: Work, folder: Path, step: int) -> None:
    work.sink.phase("saving")
    file = folder / "counted.json"
    file.with_suffix(".part").write_text(json.dumps({"step": step}))
    file.with_suffix(".part").replace(file)


def _newest(folder: Path) -> int:
    file = folder / "counted.json"
    return int(json.loads(file.read_text())["step"]) if file.exists() else 0
