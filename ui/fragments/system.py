"""The machine as cards: one per GPU, then processor, memory and disk; what is missing says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from backend.api import Device, HardwareReport, Reason
from ui.fragments import message
from ui.fragments.format import DASH, bytes_text, percent_text
from ui.fragments.html import h, join
from ui.fragments.parts import badge, heading, meter, sparkline
from ui.fragments.text import Text

Seen = Mapping[str, Sequence[float | None]]
WARN_SHARE = 0.85
PLACES = 60  # looks in the width of a small curve: two minutes


def readings(report: HardwareReport) -> dict[str, float | None]:
    """The values whose recent course is drawn: shares 0..1, degrees, watts."""
    out: dict[str, float | None] = {
        "cpu": report.cpu_utilisation,
        "ram": _share(report.ram_total_bytes - report.ram_available_bytes, report.ram_total_bytes),
    }
    for device in report.devices:
        out[f"{device.key}.utilisation"] = device.utilisation
        out[f"{device.key}.temperature"] = device.temperature_c
        out[f"{device.key}.power"] = device.power_w
    return out


def view(text: Text, report: HardwareReport, seen: Seen, spare_bytes: int = 0) -> Markup:
    """All cards. `spare_bytes`: what the worker holds that waits for the next start."""
    return join(
        heading(text("system.title"), text("system.lead"), large=True),
        [_reason(text, r) for r in report.reasons],
        h("div", [_device(text, d, seen) for d in report.devices], class_="cards two")
        if report.devices
        else None,
        h(
            "div",
            _processor(text, report, seen),
            _memory(text, report, seen, spare_bytes),
            _disk(text, report),
            class_="cards three",
        ),
    )


def _reason(text: Text, reason: Reason) -> Markup:
    return message.card(
        "plain",
        text(f"hardware.{reason.code}.message", **reason.facts),
        text(f"hardware.{reason.code}.remedy", **reason.facts),
        symbol="chip",
    )


def _card(title: str, detail: object, *inside: object) -> Markup:
    return h(
        "section",
        h("header", h("h2", title), h("span", detail, class_="quiet"), class_="line split"),
        *inside,
        class_="card machine-card",
    )


def _bar(label: str, used: str, share: float | None) -> Markup:
    tone = "wait" if share is not None and share > WARN_SHARE else "accent"
    return h(
        "div",
        h("p", h("span", label), h("span", used, class_="quiet"), class_="line split"),
        meter(share, label, tone=tone),
        class_="bar",
    )


def _space(text: Text, free: int, total: int) -> Markup:
    used = _share(total - free, total)
    return _bar(text("system.used"), text("system.free", free=bytes_text(free)), used)


def _course(label: str, value: str, values: Sequence[float | None]) -> Markup:
    return h(
        "div",
        h("span", label, class_="quiet"),
        h("span", value, class_="strong"),
        sparkline(values, width=120, height=28, tone="base", places=PLACES),
        class_="course",
    )


def _device(text: Text, device: Device, seen: Seen) -> Markup:
    free = text("system.free_of", free=bytes_text(device.free_bytes), total=bytes_text(device.total_bytes))
    problem = device.problem
    power = DASH if device.power_w is None else f"{device.power_w:.0f} W"
    if device.power_w is not None and device.power_limit_w:
        power = text("system.power_of", now=f"{device.power_w:.0f}", limit=f"{device.power_limit_w:.0f}")
    heat = DASH if device.temperature_c is None else f"{device.temperature_c:.0f} °C"
    return _card(
        device.name,
        badge("good", "done", text("system.usable"))
        if device.usable
        else badge("bad", "bad", text("system.unusable")),
        _reason(text, problem) if problem else None,
        _bar(text("system.gpu_memory"), free, _share(device.used_bytes, device.total_bytes)),
        h(
            "div",
            _course(
                text("system.busy"),
                percent_text(device.utilisation),
                seen.get(f"{device.key}.utilisation", ()),
            ),
            _course(text("system.heat"), heat, seen.get(f"{device.key}.temperature", ())),
            _course(text("system.power"), power, seen.get(f"{device.key}.power", ())),
            class_="courses",
        ),
        h(
            "ul",
            [
                h(
                    "li",
                    h("span", p.name or text("system.process")),
                    h("span", f"pid {p.pid}", class_="quiet"),
                    h("span", class_="grow"),
                    h("span", bytes_text(p.used_bytes)),
                    class_="line",
                )
                for p in device.processes
            ],
            class_="processes",
        )
        if device.processes
        else None,
        h("p", text("system.driver", driver=device.driver, device=device.key), class_="quiet")
        if device.driver
        else None,
    )


def _processor(text: Text, report: HardwareReport, seen: Seen) -> Markup:
    return _card(
        text("system.cpu"),
        text("system.cores", cores=report.cpu_cores),
        _bar(text("system.busy"), percent_text(report.cpu_utilisation), report.cpu_utilisation),
        sparkline(seen.get("cpu", ()), width=260, height=44, tone="base", top=1.0, places=PLACES),
        h("p", report.cpu_name, class_="quiet"),
    )


def _memory(text: Text, report: HardwareReport, seen: Seen, spare_bytes: int) -> Markup:
    return _card(
        text("system.ram"),
        bytes_text(report.ram_total_bytes),
        _space(text, report.ram_available_bytes, report.ram_total_bytes),
        sparkline(seen.get("ram", ()), width=260, height=44, tone="base", top=1.0, places=PLACES),
        h("p", text("system.ram.line"), class_="quiet")
        if not any(d.usable for d in report.devices)
        else None,
        h("p", text("system.spare", held=bytes_text(spare_bytes)), class_="quiet") if spare_bytes else None,
    )


def _disk(text: Text, report: HardwareReport) -> Markup:
    return _card(
        text("system.disk"),
        bytes_text(report.disk_total_bytes),
        _space(text, report.disk_free_bytes, report.disk_total_bytes),
        h("p", text("system.home"), " ", h("code", report.home), class_="quiet path"),
    )


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
