"""The real worker with a real limit on its memory: STUDIO_TEST_ROOM bytes beyond what its imports take.

Linux counts what a process may write to (RLIMIT_DATA); beyond the limit the allocator gets none. It kills
itself at the moments of STUDIO_TEST_DOOM, `{"2": ["loss", 3]}`, as `doomed_worker` does.
"""

import importlib
import json
import os
import resource
import sys
from pathlib import Path

from backend.jobs import worker
from backend.jobs.launchers.local import LocalLauncher
from tests.backend.doomed_worker import DOOM, DoomedSink

ROOM = "STUDIO_TEST_ROOM"
MODULE = "tests.backend.limited_worker"


def limit_memory(room: int) -> None:
    """Let this process take no more than `room` bytes from now on."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            held = int(line.split()[1]) * 1024
    # The hard limit stays: the next worker is this one's child, and sets its own.
    resource.setrlimit(resource.RLIMIT_DATA, (held + room, resource.getrlimit(resource.RLIMIT_DATA)[1]))


if __name__ == "__main__":
    for name in ("studio.train.run", "backend.jobs.kinds.train", "transformers.models.llama.modeling_llama"):
        importlib.import_module(name)
    moments = json.loads(os.environ.get(DOOM, "{}"))
    attempt = sys.argv[sys.argv.index("--attempt") + 1]
    DoomedSink.what, DoomedSink.when = moments.get(attempt, ("", 0))
    worker.StoreSink = DoomedSink  # type: ignore[misc]
    limit_memory(int(os.environ[ROOM]))
    sys.exit(worker.main(launcher=LocalLauncher(MODULE)))
