"""The states of a job and every way from one to another, in one table.

queued -> running <-> paused          ended: done, stopped, failed, interrupted
             \\        /               all of them but done can be resumed: then they are queued again
              stopping        running -> queued: the worker itself wants another attempt
"""

from __future__ import annotations

from studio.errors import StudioError

QUEUED, RUNNING, PAUSED, STOPPING = "queued", "running", "paused", "stopping"
DONE, STOPPED, FAILED, INTERRUPTED = "done", "stopped", "failed", "interrupted"

STATES = (QUEUED, RUNNING, PAUSED, STOPPING, DONE, STOPPED, FAILED, INTERRUPTED)
LIVE = (RUNNING, PAUSED, STOPPING)  # a process works at it, or should
ENDED = (DONE, STOPPED, FAILED, INTERRUPTED)
RESUMABLE = (STOPPED, FAILED, INTERRUPTED)

# A claimed job whose worker nobody knows after so long was never started: its claimer died in between.
START_SECONDS = 30.0

# What happens to a job -> {state before: state after}. What stands nowhere here cannot happen.
TRANSITIONS: dict[str, dict[str, str]] = {
    "claim": {QUEUED: RUNNING},
    "pause": {RUNNING: PAUSED},
    "continue": {PAUSED: RUNNING},
    # A queued job has no process that could stop at a step boundary: it ends at once.
    "ask_stop": {QUEUED: STOPPED, RUNNING: STOPPING, PAUSED: STOPPING},
    "stop": {STOPPING: STOPPED},
    # The last step may have been done before the wish to stop was read.
    "finish": {RUNNING: DONE, STOPPING: DONE},
    "fail": {RUNNING: FAILED, PAUSED: FAILED, STOPPING: FAILED},
    "interrupt": {RUNNING: INTERRUPTED, PAUSED: INTERRUPTED, STOPPING: INTERRUPTED},
    # The attempt ended in a way that the next one, set otherwise, need not.
    "again": {RUNNING: QUEUED, PAUSED: QUEUED, STOPPING: STOPPED},
    "resume": {STOPPED: QUEUED, FAILED: QUEUED, INTERRUPTED: QUEUED},
}


def after(happening: str, state: str) -> str:
    """The state that follows; `StudioError("job_state")` (wanted, state) where `state` does not allow it."""
    following = TRANSITIONS[happening].get(state)
    if following is None:
        raise StudioError("job_state", wanted=happening, state=state)
    return following


def before(happening: str) -> tuple[str, ...]:
    """The states in which `happening` is allowed."""
    return tuple(TRANSITIONS[happening])
