"""Chat with a run while it trains: what training keeps of its pace, what the chat keeps of its own.

    .venv/bin/python -m benchmarks.during --data alpaca_en_demo.json [--out benchmarks/results/during.json]

The bench: a 32M Llama (hidden 512, MLP 1376, 8 layers, 8 heads, vocabulary 8,000, random weights), LoRA of
rank 8 on all linear layers with dropout 0.1, batch 4, at most 512 tokens, bf16 autocast, AdamW. A client in a
process of its own asks the run through its loopback endpoint for 128 tokens, and again as soon as it has
them. Three things take turns in every block, over the same rows (a block's steps are one epoch): training
that nobody asks, training that is asked, and the chat with the run paused (`idle`: the same code and weights
at full speed). At the end a second run, which nobody asks, trains as many steps: its loss curve must be the
same.

`training_kept`: steps per second asked / not asked. `chat_kept`: tokens per second while training / idle.
`gap_beyond_step_seconds`: the longest wait between two pieces of an answer, less the longest step of that
block. The first two by the clock and, for machines that are shared (use --threads 1 there), by the processor
time of the run's process. Medians over the blocks, with the interval that holds the median with at least 95%
confidence.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from backend.chat.announcement import Announcement, read_announcement
from backend.chat.client import Call
from backend.chat.during import RunChat
from backend.home import Home, open_home
from backend.jobs.processes import own_identity
from benchmarks.loop import Turns, bench_plan, interval, write_bench_model
from studio.data.read import read_dataset
from studio.data.rows import write_rows
from studio.train.lending import SHARE
from studio.train.run import train

BATCH, NEW, RUN = 4, 128, "during-1"


class Counting(RunChat):
    """Counts the tokens that it hands out."""

    tokens = 0

    def take(self, decoder: Any, tokens: Any) -> None:
        self.tokens += len(tokens)
        super().take(decoder, tokens)


class Blocks(Turns):
    """A run that trains block by block, and can be paused before one."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.steps: list[float] = []  # seconds of each
        self._pause = False
        self._paused, self._go_on = threading.Event(), threading.Event()

    def wish(self) -> Any:
        self.boundary()
        return "pause" if self._pause else None

    def wait_while_paused(self, meanwhile: Any) -> None:
        self._pause = False
        self._paused.set()
        while not self._go_on.is_set():
            if not meanwhile():
                time.sleep(0.005)

    def metric(self, step: int, name: str, value: float) -> None:
        del step
        if name == "loss":
            self.losses.append(value)
        if name == "step_seconds":
            self.steps.append(value)

    def pause(self, steps: int) -> None:
        """Let the run wait, paused, before the next `steps` steps."""
        self._left, self._pause = steps + 1, True  # it looks at the wish once more as it goes on
        self._paused.clear()
        self._go_on.clear()
        self._go.release()
        self._paused.wait()

    def go_on(self) -> tuple[float, float]:
        """Take the steps; as `seconds`."""
        wall, processor = time.perf_counter(), time.process_time()
        self._go_on.set()
        self._done.acquire()
        return time.perf_counter() - wall, time.process_time() - processor


@dataclass
class Client:
    """Asks one question after the other, in a process of its own, between `go` and `stop`."""

    engine: Announcement
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.during", "--client", self.engine.url, self.engine.token]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self) -> None:
        self._send("go")

    def stop(self) -> list[list[float]]:
        """When each piece of each answer came (`time.monotonic` is the same in all processes)."""
        self._send("stop")
        assert self.process.stdout is not None
        answers: list[list[float]] = json.loads(self.process.stdout.readline())
        return answers

    def _send(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()


def be_client(url: str, token: str) -> None:
    """Main of the client's process."""
    engine = Announcement(url, token, 0, 0.0, RUN, own_identity())
    body = {"model": f"run:{RUN}", "max_tokens": NEW, "temperature": 0}
    body["messages"] = [{"role": "user", "content": "Give three tips for staying healthy."}]
    answers: list[list[float]] = []
    call = Call(engine)
    asking = threading.Event()

    def ask() -> None:
        nonlocal call
        while asking.is_set():
            call = Call(engine)
            times: list[float] = []
            answers.append(times)
            times.extend(time.monotonic() for chunk in call.stream(body) if chunk["choices"])

    for line in sys.stdin:
        if line.strip() == "go":
            answers.clear()
            asking.set()
            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
        else:
            asking.clear()
            call.cancel()
            thread.join()
            print(json.dumps(answers), flush=True)


def measure(data: Path, blocks: int, steps: int) -> dict[str, Any]:
    """All figures."""
    plan = bench_plan((1 + 2 * blocks) * steps, dropout=0.1)
    rows = read_dataset(data).rows[: BATCH * steps]
    with tempfile.TemporaryDirectory() as temporary:
        model, home = Path(temporary, "model"), open_home(Path(temporary, "home"))
        write_bench_model(model, read_dataset(data).rows[:320])
        folders = [home.run(RUN), home.run("alone-1")]
        for folder in folders:
            folder.mkdir(parents=True)
            write_rows(folder / "rows.jsonl", rows)
            (folder / "plan.json").write_text(json.dumps({"model": f"path:{model}"}), encoding="utf-8")
        asked, guest = Blocks(), Counting(home, RUN, "random weights")

        def run() -> None:
            train(plan, model_folder=model, folder=folders[0], sink=asked, control=asked, guest=guest)

        asked.run(run)
        asked.seconds(steps - 1)
        table = _table(home, asked, guest, blocks, steps)
        alone = Blocks()
        alone._left = plan.settings.steps + 1
        train(plan, model_folder=model, folder=folders[1], sink=alone, control=alone)
    equal = sum(ours == theirs for ours, theirs in zip(asked.losses, alone.losses, strict=True))
    return {**_figures(table), "steps": len(alone.losses), "steps_with_equal_loss": equal}


def _table(home: Home, asked: Blocks, guest: Counting, blocks: int, steps: int) -> list[dict[str, float]]:
    announced = read_announcement(home.root, f"run:{RUN}")
    assert announced is not None
    client = Client(announced)
    table = []
    for number in range(blocks):
        kinds = [lambda: _alone(asked, steps), lambda: _asked(asked, guest, client, steps)]
        row: dict[str, float] = {}
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            row |= kind()
        print({name: round(value, 3) for name, value in sorted(row.items())}, file=sys.stderr, flush=True)
        table.append(row)
    client.process.terminate()
    return table


def _alone(asked: Blocks, steps: int) -> dict[str, float]:
    wall, processor = asked.seconds(steps)
    return {"alone": steps / wall, "alone_processor": steps / processor}


def _asked(asked: Blocks, guest: Counting, client: Client, steps: int) -> dict[str, float]:
    """The chat with the run paused, a whole answer long, then with the run training."""
    asked.pause(steps)
    first = guest.tokens
    client.go()
    while guest.tokens == first:
        time.sleep(0.005)
    wall, processor, before = time.perf_counter(), time.process_time(), guest.tokens
    while guest.tokens < before + NEW:
        time.sleep(0.005)
    idle = guest.tokens - before
    row = {
        "idle_tokens": idle / (time.perf_counter() - wall),
        "idle_tokens_processor": idle / (time.process_time() - processor),
    }
    before, since = guest.tokens, time.monotonic()
    wall, processor = asked.go_on()
    tokens, until = guest.tokens - before, time.monotonic()
    answers = [[at for at in times if since <= at <= until] for times in client.stop()]
    return row | {
        "asked": steps / wall,
        "asked_processor": steps / processor,
        "asked_tokens": tokens / wall,
        "asked_tokens_processor": tokens / processor,
        "longest_gap": max(after - at for times in answers for at, after in pairwise(times)),
        "longest_step": max(asked.steps[-steps:]),
    }


def _figures(table: list[dict[str, float]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for clock in ("", "_processor"):
        kept = [row["asked" + clock] / row["alone" + clock] for row in table]
        figures["training_kept" + clock] = _over_blocks(kept, bar=0.80)
        kept = [row["asked_tokens" + clock] / row["idle_tokens" + clock] for row in table]
        figures["chat_kept" + clock] = _over_blocks(kept, bar=0.15)
    gaps = [row["longest_gap"] - row["longest_step"] for row in table]
    figures["gap_beyond_step_seconds"] = _over_blocks(gaps, bar=0.5)
    return {**figures, "blocks": [{name: round(value, 4) for name, value in row.items()} for row in table]}


def _over_blocks(values: list[float], bar: float) -> dict[str, Any]:
    return {
        "median": round(median(values), 4),
        "interval": [round(x, 4) for x in interval(values)],
        "bar": bar,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ALPACA_DATA"))
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="per block")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/during.json"))
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        return be_client(*options.client)
    if options.data is None or not Path(options.data).is_file():
        sys.exit("An Alpaca file is needed: --data FILE, or its path in ALPACA_DATA.")
    torch.set_num_threads(options.threads)
    result = {
        "what": "steps and tokens per second, block by block; idle: the chat of the paused run",
        **measure(Path(options.data), options.blocks, options.steps),
        "share": SHARE,
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),  # well above `threads` + 1: something else was running
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1), flush=True)


if __name__ == "__main__":
    main()
