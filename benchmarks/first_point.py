"""How long a person waits after pressing Start: until the first point of the loss is there to be drawn.

    python -m benchmarks.first_point [--rounds 5] [--busy]

`starter` on `pirate` with defaults, through the facade that the screen uses, in three ways in turn: `read`
(the person looked at the plan for 15 s first, so that a spare worker has its imports done), `hurried` (for
1 s), and `cold` (no spare: as on the command line). `--busy`: two processes compute meanwhile, one per core.
The screen's own tick adds up to a second. Results go to benchmarks/results/first_point.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.facade import StudioFacade

RESULTS = Path(__file__).resolve().parent / "results" / "first_point.json"
WAYS = {"read": 15.0, "hurried": 1.0, "cold": None}
_CORES = 2


def seconds_to_first_point(home: Path, looked_at: float | None) -> float:
    """From Start to the first loss; the run is stopped then, and its end awaited."""
    facade = StudioFacade(home, watch=looked_at is not None)
    try:
        if looked_at is not None:
            facade.warm_worker(facade.draft("starter", "pirate"))
            time.sleep(looked_at)
        began = time.perf_counter()
        run = facade.start("starter", "pirate")
        while not facade.series([run], ["loss"])[0].steps:
            summary = facade.run(run).summary
            assert summary.state == "running", summary
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        facade.stop(run)
        assert list(facade.wait(run))[-1].state == "stopped"
        return seconds
    finally:
        facade.close()


@contextmanager
def other_work(busy: bool) -> Iterator[None]:
    """One process per core that computes all the time, if wanted."""
    code = "while True: pass"
    spinning = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(_CORES if busy else 0)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", action="store_true")
    given = parser.parse_args()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as home, other_work(given.busy):
        for _ in range(given.rounds):
            for way, looked_at in WAYS.items():
                found[way].append(round(seconds_to_first_point(Path(home), looked_at), 2))
                print(way, found[way][-1], flush=True)
    body = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    body["busy" if given.busy else "idle"] = {
        "seconds": found,
        "median": {way: statistics.median(values) for way, values in found.items()},
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "load_before": round(os.getloadavg()[2], 1),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
