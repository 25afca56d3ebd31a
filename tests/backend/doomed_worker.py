"""The real worker, which kills itself with SIGKILL at a moment that STUDIO_TEST_DOOM names, for each attempt.

`{"1": ["loss", 30], "2": ["saving", 2]}`: the first attempt dies when the loss of step 30 is reported, the
second when it begins to save for the second time.
"""

import json
import os
import signal
import sys
from collections import Counter

from backend.jobs import reporting, worker
from backend.jobs.launchers.local import LocalLauncher

DOOM = "STUDIO_TEST_DOOM"


class DoomedSink(reporting.StoreSink):
    """Reports as usual, until its moment comes."""

    what, when = "", 0

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._seen: Counter[str] = Counter()

    def metric(self, step: int, name: str, value: float) -> None:
        super().metric(step, name, value)
        self._die_if((name, step) == (self.what, self.when))

    def phase(self, name: str, progress: float | None = None) -> None:
        super().phase(name, progress)
        self._seen[name] += 1
        self._die_if((name, self._seen[name]) == (self.what, self.when))

    def _die_if(self, now: bool) -> None:
        if now:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    moments = json.loads(os.environ[DOOM])
    attempt = sys.argv[sys.argv.index("--attempt") + 1]
    DoomedSink.what, DoomedSink.when = moments.get(attempt, ("", 0))
    worker.StoreSink = DoomedSink  # type: ignore[misc]
    sys.exit(worker.main(launcher=LocalLauncher("tests.backend.doomed_worker")))
