"""When the wizard lets a person go on."""

from dataclasses import replace

import pytest

from ui import steps
from ui.wizard import STEPS, Wizard

CHOSEN = Wizard(goal="style", model="starter", dataset="pirate")


@pytest.mark.parametrize(
    ("broken", "holds_up"),
    [
        ({"key": "dataset", "code": "data_broken", "facts": {"row": 1}}, {"data", "how"}),
        ({"key": "batch", "code": "setting_not_int", "facts": {"value": "x"}}, {"how"}),
    ],
    ids=["data", "a setting"],
)
def test_next_waits_for_what_is_to_be_mended_at_its_step(page, broken, holds_up):
    draft = page.facade.draft(CHOSEN.model, CHOSEN.dataset)
    for name in ("model", "data", "how"):
        here = replace(CHOSEN, step=STEPS.index(name))
        assert steps.ready(page, here, draft)
        assert steps.ready(page, here, replace(draft, problems=(broken,))) == (name not in holds_up)


def test_next_waits_for_a_choice(page):
    without = replace(CHOSEN, dataset=None, step=STEPS.index("data"))
    assert not steps.ready(page, without, None)
