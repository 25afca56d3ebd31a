"""`gpu`: the devices that can compute, or why there is none."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from backend.api import Device, Facade, HardwareReport
from studio.errors import Reason
from ui.cli.output import Output
from ui.cli.parser import Sub
from ui.fragments.format import bytes_text, percent_text
from ui.words import Words

NAME = "gpu"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Show the GPUs: memory, utilisation, driver, or why there is none.")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:  # noqa: ARG001
    report = facade.hardware()
    output.result(document(report, output.words), text(report, output.words))
    return 0


def document(report: HardwareReport, words: Words) -> dict[str, Any]:
    """`devices` and the `reason` why there is none or why one cannot be used (null if all is well)."""
    machine = {k: v for k, v in asdict(report).items() if k not in ("devices", "reasons")}
    devices = [asdict(d) | {"problem": _sentence(d.problem, words)} for d in report.devices]
    return {"devices": devices, "reason": _why(report, words) or None, "machine": machine}


def text(report: HardwareReport, words: Words) -> str:
    lines = [_device_line(d, words) for d in report.devices]
    why = _why(report, words)
    lines += [why] if why else []
    memory = f"{bytes_text(report.ram_available_bytes)} of {bytes_text(report.ram_total_bytes)} memory free"
    lines.append(f"{report.cpu_name}: {report.cpu_cores} cores, {memory}")
    return "\n".join(lines)


def _device_line(device: Device, words: Words) -> str:
    free = f"{bytes_text(device.free_bytes)} of {bytes_text(device.total_bytes)} free"
    line = f"{device.key}  {device.name}: {free}, {percent_text(device.utilisation)} busy"
    line += f", driver {device.driver}" if device.driver else ""
    return line if device.problem is None else f"{line}\n  {_sentence(device.problem, words)}"


def _why(report: HardwareReport, words: Words) -> str:
    return " ".join(_sentence(reason, words) or "" for reason in report.reasons)


def _sentence(reason: Reason | None, words: Words) -> str | None:
    if reason is None:
        return None
    key = f"hardware.{reason.code}"
    parts = (words.text(f"{key}.{part}", **reason.facts) for part in ("message", "remedy"))
    return " ".join(part for part in parts if part)
