"""What all tests share: one thread per process, no telemetry, no way to a person's own studio home."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

# Before anything imports torch: two test processes share two cores.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

# Started in the background, a shell hands down "ignore Ctrl-C and hang-up", and every child would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_real_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test that forgets to name a home gets an empty one of its own."""
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The studio home of this test, empty; the same that STUDIO_HOME names."""
    return tmp_path / "home"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests by their folder; skip GPU tests where there is none."""
    missing = _missing_gpu()
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "e2e"):
            item.add_marker(pytest.mark.e2e)
        if missing and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of one file run in one process, those in a browser all in one: never two browsers at once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "e2e" if nodeid.startswith("tests/e2e/") else super()._split_scope(nodeid)

    return ByFile(config, log)


def _missing_gpu() -> str | None:
    """Why no test can use a GPU here, without importing torch; None if one can."""
    from backend.hardware.torch_facts import installed_build

    build = installed_build()
    if build is None or build.cuda is None:
        return "the installed torch has no CUDA"
    import pynvml

    try:
        pynvml.nvmlInit()
        return None if pynvml.nvmlDeviceGetCount() else "the driver finds no GPU"
    except pynvml.NVMLError as error:
        return f"no NVIDIA driver answers: {error}"
