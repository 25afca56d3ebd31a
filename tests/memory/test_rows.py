"""The published rows that the estimate is compared with: models that the studio does not know stay theirs."""

from __future__ import annotations

from benchmarks.memory_rows import facts, plan, rows, switches, their_models
from studio.memory.estimate import estimate
from studio.models.families import FAMILIES
from studio.models.forms import FORMS, PATHS


def test_models_of_other_programs_are_known_while_rows_are_predicted_and_no_longer() -> None:
    own = [dict(table) for table in (FORMS, PATHS, FAMILIES)]
    assert not {"phi", "litgpt", "litgpt_neox", "gpt_bigcode"} & FORMS.keys()
    row = next(row for row in rows() if "litgpt" in row["source"] and row["method"] == "lora")
    with their_models():
        assert estimate(plan(row), facts(row), 1.0, switches(row)).allocated > 2**30
    assert [dict(table) for table in (FORMS, PATHS, FAMILIES)] == own
