"""What the fake facade shows: a machine, models, samples, a check report and chat answers, as values."""

from __future__ import annotations

from dataclasses import dataclass

from backend.api import (
    CheckReport,
    Device,
    EpochCost,
    FitProposal,
    GpuProcess,
    HardwareReport,
    MemoryPoint,
    ModelInfo,
    PreviewRow,
    SampleInfo,
)
from studio.errors import Reason
from studio.params import param

GIB = 1024**3


@dataclass(frozen=True)
class FakeLora:
    """Params of the fake's one method."""

    rank: int = param(8, "Width of the trained matrices.", low=1, high=1024)
    alpha: float | None = param(None, "Scale of the change; twice the rank if left open.", low=0, high=4096)
    dropout: float = param(0.05, "Share of inputs dropped while training.", low=0, high=0.9, expert=True)
    targets: tuple[str, ...] = param(("all-linear",), "Which layers get an adapter.", expert=True)


HARDWARE_CPU = HardwareReport(
    devices=(),
    reasons=(Reason("no_gpu", {}),),
    cpu_name="AMD Ryzen 7 7840U",
    cpu_cores=2,
    cpu_utilisation=0.35,
    ram_total_bytes=16 * GIB,
    ram_available_bytes=9 * GIB,
    disk_total_bytes=512 * GIB,
    disk_free_bytes=180 * GIB,
    home="/home/someone/finetune-studio",
)

HARDWARE_GPU = HardwareReport(
    devices=(
        Device(
            key="cuda:0",
            name="NVIDIA GeForce RTX 4090",
            kind="cuda",
            total_bytes=24 * GIB,
            used_bytes=5 * GIB,
            free_bytes=19 * GIB,
            utilisation=0.62,
            temperature_c=58.0,
            power_w=210.0,
            power_limit_w=450.0,
            driver="580.82.07",
            processes=(GpuProcess(4242, "python", 4 * GIB),),
            usable=True,
        ),
        Device(
            key="cuda:1",
            name="NVIDIA GeForce GTX 1060",
            kind="cuda",
            total_bytes=6 * GIB,
            used_bytes=0,
            free_bytes=6 * GIB,
            utilisation=0.0,
            temperature_c=31.0,
            power_w=None,
            power_limit_w=None,
            driver="580.82.07",
            processes=(),
            usable=False,
            problem=Reason("torch_without_cuda", {"name": "NVIDIA GeForce GTX 1060", "torch": "2.13.0+cpu"}),
        ),
    ),
    reasons=(),
    cpu_name="AMD Ryzen 9 7950X",
    cpu_cores=32,
    cpu_utilisation=0.12,
    ram_total_bytes=64 * GIB,
    ram_available_bytes=48 * GIB,
    disk_total_bytes=2000 * GIB,
    disk_free_bytes=900 * GIB,
    home="/home/someone/finetune-studio",
)


def _model(
    name: str,
    title: str,
    parameters: int,
    licence: str,
    context: int,
    architecture: str,
    fits: str,
    *,
    on_disk: bool = False,
    gated: bool = False,
    summary: str = "",
) -> ModelInfo:
    return ModelInfo(
        name=name,
        title=title,
        summary=summary or f"A small chat model, {parameters / 1e6:.0f}M parameters.",
        parameters=parameters,
        size_bytes=2 * parameters,
        licence=licence,
        context=context,
        architecture=architecture,
        on_disk=on_disk,
        gated=gated,
        fits=fits,
        needed_bytes=int(5.5 * parameters) + 300_000_000,
        reason=Reason("fits_rough", {"free_bytes": 9 * GIB}),
    )


MODELS = (
    _model(
        "starter",
        "Starter",
        3_050_000,
        "apache-2.0",
        512,
        "llama",
        "yes",
        on_disk=True,
        summary="Tiny, ships with the studio: learn how tuning works in two minutes, without a GPU.",
    ),
    _model(
        "hub:HuggingFaceTB/SmolLM2-135M-Instruct",
        "SmolLM2 135M Instruct",
        134_515_008,
        "apache-2.0",
        8192,
        "llama",
        "yes",
    ),
    _model(
        "hub:Qwen/Qwen2.5-0.5B-Instruct",
        "Qwen2.5 0.5B Instruct",
        494_032_768,
        "apache-2.0",
        32768,
        "qwen2",
        "yes",
    ),
    _model(
        "hub:Qwen/Qwen2.5-1.5B-Instruct",
        "Qwen2.5 1.5B Instruct",
        1_543_714_304,
        "apache-2.0",
        32768,
        "qwen2",
        "tight",
    ),
    _model(
        "hub:google/gemma-3-1b-it",
        "Gemma 3 1B",
        999_885_952,
        "gemma",
        32768,
        "gemma3_text",
        "no",
        gated=True,
    ),
)

UNKNOWN_MODEL = ModelInfo(
    name="hub:someone/some-model",
    title="some-model",
    summary="",
    parameters=None,
    size_bytes=None,
    licence=None,
    context=None,
    architecture=None,
    on_disk=False,
    gated=False,
    fits=None,
    needed_bytes=None,
    reason=Reason("fits_unknown", {}),
)

SAMPLES = (
    SampleInfo("pirate", "Talk like a pirate", "Every answer in the voice of a pirate.", "style", 400, 100),
    SampleInfo("json", "Turn sentences into JSON", "A sentence in, a JSON record out.", "format", 500, 100),
    SampleInfo("support", "Know a shop's facts", "Facts of an invented shop.", "facts", 300, 60),
)

TOKENS = {
    "total": 18_240,
    "learned": 9_120,
    "min": 18,
    "median": 41,
    "p95": 88,
    "max": 121,
    "truncated": 0,
    "histogram": [{"upto": 32, "rows": 90}, {"upto": 64, "rows": 210}, {"upto": 128, "rows": 100}],
}

CHECK = CheckReport(
    dataset="pirate",
    format="messages",
    reason=Reason("format_messages", {"columns": "messages", "marks": "role, content"}),
    rows=400,
    heldout_rows=100,
    problems=(),
    problem_counts={},
    tokens=None,
)

CHECK_BROKEN = CheckReport(
    dataset="broken.jsonl",
    format="alpaca",
    reason=Reason("format_alpaca", {"columns": "instruction, output"}),
    rows=3,
    heldout_rows=None,
    problems=(
        {"row": 2, "column": "output", "code": "answer_empty", "facts": {"place": 1}, "skipped": True},
        {"row": 5, "column": "instruction", "code": "column_missing", "facts": {}, "skipped": True},
    ),
    problem_counts={"answer_empty": 1, "column_missing": 1},
    tokens=None,
)

PREVIEW = tuple(
    PreviewRow(
        row=i + 1,
        pieces=(
            ("<|user|>", False),
            (question, False),
            ("<|end|>", False),
            ("<|assistant|>", False),
            (answer, True),
            ("<|end|>", True),
        ),
        tokens=18 + i,
        learned=9 + i,
    )
    for i, (question, answer) in enumerate(
        [
            ("What is the capital of France?", "Arr, it be Paris, matey!"),
            ("What is 2 plus 3?", "Aye, that makes 5, ye clever sailor."),
            ("Say hello.", "Ahoy there, matey!"),
            ("What is the opposite of hot?", "Avast! The opposite be cold."),
            ("Name three animals.", "Aye: a cat, a dog and a horse, arr."),
        ]
    )
)


PROPOSALS = (
    FitProposal(
        what=(Reason("fit_checkpointing"),),
        price=(Reason("price_checkpointing"),),
        settings={"gradient_checkpointing": True},
        resolved={"gradient_checkpointing": True},
        method=None,
        needed_bytes=4 * GIB,
        gain_bytes=2 * GIB,
        fits="yes",
    ),
)


def answer(prompt: str, side: str) -> str:
    """A canned answer: plain for `base`, with pirate words for `tuned`."""
    plain = f"You asked: {prompt.strip()} Here is a short answer."
    return plain if side == "base" else f"Arr, matey! {plain} Aye."


def memory_point(run: str) -> MemoryPoint:
    """A run that took 25 MiB more than predicted, all of it in its steps."""
    mib = 2**20
    parts = {"weights": 12 * mib, "adapter": mib, "optimizer": 2 * mib}
    return MemoryPoint(
        run=run,
        source="estimate",
        method="lora",
        device="cpu",
        card=None,
        predicted_bytes=615 * mib,
        measured_bytes=640 * mib,
        reserved_bytes=None,
        predicted_parts={**parts, "step": 600 * mib},
        measured_parts={**parts, "step": 625 * mib},
    )


def epoch_cost(steps: int) -> EpochCost:
    """Of a run of six epochs at 0.15 s a step, by a run with half the batch on a processor of 100 W."""
    seconds = 0.15 * steps / 6
    return EpochCost(seconds, (0.5 * seconds, seconds), 100 * seconds, "pirate-1", ("batch",))
