"""The whole table of states and transitions, checked against one written by hand."""

from __future__ import annotations

import pytest

from backend import api
from backend.jobs import states
from studio.errors import StudioError

# (happening, state) -> state after; what is missing is refused.
ALLOWED = {
    ("claim", "queued"): "running",
    ("pause", "running"): "paused",
    ("continue", "paused"): "running",
    ("ask_stop", "queued"): "stopped",
    ("ask_stop", "running"): "stopping",
    ("ask_stop", "paused"): "stopping",
    ("stop", "stopping"): "stopped",
    ("finish", "running"): "done",
    ("finish", "stopping"): "done",
    ("fail", "running"): "failed",
    ("fail", "paused"): "failed",
    ("fail", "stopping"): "failed",
    ("interrupt", "running"): "interrupted",
    ("interrupt", "paused"): "interrupted",
    ("interrupt", "stopping"): "interrupted",
    ("again", "running"): "queued",
    ("again", "paused"): "queued",
    ("again", "stopping"): "stopped",
    ("resume", "stopped"): "queued",
    ("resume", "failed"): "queued",
    ("resume", "interrupted"): "queued",
}


@pytest.mark.parametrize("state", states.STATES)
@pytest.mark.parametrize("happening", sorted(states.TRANSITIONS))
def test_every_pair_of_happening_and_state(happening: str, state: str) -> None:
    if (happening, state) in ALLOWED:
        assert states.after(happening, state) == ALLOWED[happening, state]
    else:
        with pytest.raises(StudioError) as caught:
            states.after(happening, state)
        assert caught.value.as_dict() == {"code": "job_state", "facts": {"wanted": happening, "state": state}}


def test_states_are_those_that_the_facade_promises() -> None:
    assert states.STATES == api.STATES
    assert states.LIVE == api.LIVE_STATES
    assert {*states.LIVE, *states.ENDED, states.QUEUED} == set(states.STATES)


def test_nothing_leads_out_of_done_and_every_other_state_can_be_left() -> None:
    left = {state for way in states.TRANSITIONS.values() for state in way}
    assert left == set(states.STATES) - {"done"}


def test_every_state_is_reached_from_queued() -> None:
    reached = {"queued"}
    for _ in states.STATES:
        reached |= {after for way in states.TRANSITIONS.values() for s, after in way.items() if s in reached}
    assert reached == set(states.STATES)
