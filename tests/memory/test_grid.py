"""The comparison with real steps, tried on the processor."""

from __future__ import annotations

from benchmarks import memory_grid
from benchmarks.memory_grid import Cell, cells, line
from studio.plan import methods


def test_the_grid_has_every_method_size_and_shape():
    grid = cells(["0.5B", "7B"], [1, 4], [512, 2048], "mixed")
    assert len(set(grid)) == len(methods.all()) * 2 * 2 * 2 * 2
    assert {cell.method for cell in grid} == set(methods.all())


def test_a_cell_on_the_processor_is_within_three_percent(tmp_path):
    grid = [Cell("lora", "tiny", 1, 32, False, "bf16")]
    (row,) = memory_grid.rows_of(grid, tmp_path, "cpu")
    assert "failed" not in row
    assert row["allocated"] > 2**20
    assert abs(row["estimate_error"]) <= memory_grid.BOUND
    assert abs(row["trace_error"]) <= memory_grid.BOUND


def test_a_cell_that_fails_or_has_no_room_is_named(tmp_path, monkeypatch):
    cell = Cell("lora", "7B", 4, 2048, False, "mixed")
    monkeypatch.setattr(memory_grid.torch.cuda, "mem_get_info", lambda _: (2**30, 2**31))
    (row,) = memory_grid.rows_of([cell], tmp_path, "cuda:0")
    assert line(row).startswith("7B lora 4 x 2048: skipped, needs ")
    assert "1.0 are free" in line(row)
    assert not list(tmp_path.iterdir())


def test_what_is_off_is_said():
    row = {
        "method": "lora",
        "size": "7B",
        "batch": 1,
        "seq": 512,
        "checkpointing": True,
        "precision": "mixed",
    }
    row |= {"allocated": 2**30, "estimate_error": 0.04, "trace_error": 0.0, "inside": False}
    assert line(row) == (
        "7B lora 1 x 512 checkpointing: 1024.0 MiB, estimate +4.00%, trace +0.00% "
        "BEYOND 3% OUTSIDE the interval"
    )
