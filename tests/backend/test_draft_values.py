"""Wrong values in every field of the form: each ends in a designed problem, or is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.facade import StudioFacade
from studio.params import describe
from studio.plan import Settings, methods
from ui.words import Words

VALUES = ("-1", "0", "nan", "abc", "1e999", "", "9" * 30, "9" * 5000, "1", "auto", ",", "0.self_attn.q_proj,")
FIELDS = [(id, info.name) for id, method in methods.all().items() for info in describe(method.params)]
COMMON = [("lora", f"plan.{info.name}") for info in describe(Settings)]


@pytest.mark.parametrize(("method", "field"), FIELDS + COMMON)
def test_no_value_ends_in_a_bug(
    facade: StudioFacade, model: Path, sums: Path, method: str, field: str
) -> None:
    words = Words()
    for value in VALUES:
        draft = facade.draft(str(model), str(sums), method, {field: value})
        assert draft.memory is not None
        name = field.removeprefix("plan.")
        for problem in draft.problems:
            assert problem["key"].rpartition(".")[2] == name
            assert all(words.problem(problem))
