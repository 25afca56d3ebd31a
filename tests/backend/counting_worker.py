"""The real worker, which knows the counting kind besides, and starts the next one of the same sort."""

import sys

from backend.jobs import kinds, worker
from backend.jobs.launchers.local import LocalLauncher
from tests.backend.counting import CountingKind

if __name__ == "__main__":
    kinds.add(CountingKind())
    sys.exit(worker.main(launcher=LocalLauncher("tests.backend.counting_worker")))
