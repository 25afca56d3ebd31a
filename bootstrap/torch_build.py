"""Which build of torch suits this computer, and why. The choice is a pure function."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

PYTORCH = "https://download.pytorch.org/whl/"
_SOURCES = ("index-url", "extra-index-url", "find-links", "no-index")


@dataclass(frozen=True)
class TorchBuild:
    """Where pip takes torch from: `index` (None: wherever pip looks anyway), and why."""

    index: str | None
    reason: str


@dataclass(frozen=True)
class Nvidia:
    """Driver version and the lowest compute capability among the GPUs, (0, 0) where it is not told."""

    driver: tuple[int, int]
    capability: tuple[int, int] = (0, 0)


def choose_torch(
    wanted: str, system: str, machine: str, configured: Sequence[str], nvidia: Nvidia | None
) -> TorchBuild:
    """The build to install.

    PyPI's own torch is the CUDA build on Linux and a CPU build elsewhere.

    Args:
        wanted: `auto`, `cpu` or `cuda`.
        system: `Linux`, `Darwin` or `Windows`, as `platform.system()` says it.
        machine: `x86_64`, `AMD64`, `arm64` or `aarch64`.
        configured: What the person told pip about where to look; empty if nothing.
        nvidia: The driver, None where none answers.
    """
    if configured:
        return TorchBuild(None, f"pip is set up to look in places of your own ({', '.join(configured)})")
    if system == "Darwin":
        return TorchBuild(None, "the macOS build, which serves both the processor and Apple's GPU")
    if wanted == "cpu":
        return TorchBuild(PYTORCH + "cpu", "the CPU build, as you asked")
    if nvidia is None and wanted == "auto":
        return TorchBuild(PYTORCH + "cpu", "the CPU build, because no NVIDIA driver answers on this computer")
    if nvidia is None:
        return TorchBuild(PYTORCH + "cu130", "the CUDA build, as you asked, though no NVIDIA driver answers")
    driver = f"NVIDIA driver {nvidia.driver[0]}.{nvidia.driver[1]:02d}"
    if nvidia.driver < (525, 0):
        return TorchBuild(
            PYTORCH + "cpu", f"the CPU build, because CUDA needs driver 525 or newer ({driver})"
        )
    # CUDA 13 needs driver 580 and left out the GPUs before Turing (compute capability 7.5).
    if nvidia.driver < (580, 0) or (0, 0) < nvidia.capability < (7, 5):
        return TorchBuild(PYTORCH + "cu126", f"the CUDA 12 build, which fits your GPU and {driver}")
    if system == "Linux" and machine == "x86_64":
        return TorchBuild(None, f"the CUDA build, for {driver}")
    return TorchBuild(PYTORCH + "cu130", f"the CUDA 13 build, for {driver}")


def find_torch(python: str, wanted: str) -> TorchBuild:
    """`choose_torch` for this computer, with the pip of `python`."""
    asked = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    sources = parse_pip_sources(asked.stdout)
    return choose_torch(wanted, platform.system(), platform.machine(), sources, _find_nvidia())


def parse_pip_sources(listing: str) -> list[str]:
    """The settings about where to look, from what `pip config list` prints: `["find-links=/opt/wheels"]`."""
    settings = (line.partition("=") for line in listing.splitlines())
    named = ((key.rpartition(".")[2], value.strip("'\"")) for key, _, value in settings)
    return list(dict.fromkeys(f"{name}={value}" for name, value in named if name in _SOURCES))


def parse_nvidia(listing: str) -> Nvidia | None:
    """From lines such as `580.65.06, 9.0`, one per GPU; None if there is no such line."""
    rows = [line.partition(",") for line in listing.splitlines() if line[:1].isdigit()]
    if not rows:
        return None
    return Nvidia(_two_numbers(rows[0][0]), min(_two_numbers(capability) for _, _, capability in rows))


def _two_numbers(version: str) -> tuple[int, int]:
    parts = version.strip().split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return 0, 0
    return int(parts[0]), int(parts[1])


def _find_nvidia() -> Nvidia | None:
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        asked = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_nvidia(asked.stdout) if asked.returncode == 0 else None
