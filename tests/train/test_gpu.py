"""What is different on an NVIDIA GPU: autocast there, its memory, its random state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studio.train.run import train
from tests.toys.folders import sums, tiny_plan, write_run
from tests.toys.runs import saved_tensors
from tests.toys.watch import Boundary, Killed, Recorder

pytestmark = pytest.mark.gpu


def _train(folder: Path, model_folder: Path, kill: int | None = None) -> Recorder:
    def at(boundary: int) -> str | None:
        if boundary == kill:
            raise Killed
        return None

    recorder = Recorder()
    plan = tiny_plan(precision="mixed", eval_every=4)
    train(
        plan, model_folder=model_folder, folder=folder, sink=recorder, control=Boundary(at), device="cuda:0"
    )
    return recorder


def test_trains_and_goes_on_after_a_kill(model_folder: Path, tmp_path: Path) -> None:
    whole = _train(write_run(tmp_path / "whole", sums(24), sums(8, 100)), model_folder)
    assert whole.curve()[-1] < 0.8 * whole.curve()[0]
    assert 0 < whole.curve("memory_bytes")[-1] <= torch.cuda.max_memory_allocated()
    cut = write_run(tmp_path / "cut", sums(24), sums(8, 100))
    with pytest.raises(Killed):
        _train(cut, model_folder, kill=9)
    resumed = _train(cut, model_folder)
    assert "resumed" in resumed.kinds()
    ours, theirs = saved_tensors(cut / "adapter"), saved_tensors(tmp_path / "whole" / "adapter")
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)
