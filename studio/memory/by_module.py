"""What lives in each module of a model, with decoder layers that hold the same put together. No torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ModuleBytes:
    """Bytes by part; `module` is a path below the decoder with ranges of layers (`layers.0-31.mlp`), or
    `loss`, `inputs`, `optimizer`."""

    module: str
    parts: Mapping[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Layout:
    """Paths from the root of what was tracked: of the model's decoder, and of the model itself."""

    decoder: str
    model: str

    def label(self, path: str, part: str) -> tuple[str, int | None, str]:
        """(stack or module, number in the stack, part of that layer) of a module; what no module made is the
        optimizer's or the loss's."""
        for around in (self.decoder, self.model):
            if path == around:
                return around.rpartition(".")[2], None, ""
            if path.startswith(f"{around}."):
                return _split(path.removeprefix(f"{around}."))
        if path in OWN:
            return path, None, ""
        return ("optimizer" if part == "optimizer step" else "loss"), None, ""

    def name(self, path: str, part: str) -> str:
        """A module in short: `layers.31.mlp`."""
        stack, number, child = self.label(path, part)
        return _name(stack, [number], child)


OWN = ("inputs",)  # labels that a tracker was given in place of a path


def by_module(
    sizes: Mapping[tuple[str, str], int], layout: Layout, parts: Mapping[str, str]
) -> tuple[ModuleBytes, ...]:
    """The largest first. `sizes` are bytes by (module's path, part); `parts` renames parts."""
    found: dict[tuple[str, str], dict[int | None, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for (path, part), size in sizes.items():
        if size:
            stack, number, child = layout.label(path, part)
            found[stack, child][number][parts.get(part, part)] += size
    rows = [
        ModuleBytes(_name(stack, numbers, child), dict(alike))
        for (stack, child), layers in found.items()
        for alike, numbers in _together(layers)
    ]
    return tuple(sorted(rows, key=lambda row: row.bytes, reverse=True))


def _split(path: str) -> tuple[str, int | None, str]:
    names = path.split(".")
    at = next((i for i, name in enumerate(names) if name.isdigit()), None)
    if at is None:
        return names[0], None, ""
    return ".".join(names[:at]), int(names[at]), names[at + 1] if at + 1 < len(names) else ""


def _together(layers: Mapping[int | None, Counter[str]]) -> Iterable[tuple[Counter[str], list[int | None]]]:
    """Layers with the same bytes of the same parts."""
    groups: list[tuple[Counter[str], list[int | None]]] = []
    for number, held in sorted(layers.items(), key=lambda item: item[0] or 0):
        alike = next((numbers for other, numbers in groups if other == held), None)
        if alike is None:
            groups.append((held, [number]))
        else:
            alike.append(number)
    for held, numbers in groups:
        yield Counter({part: size * len(numbers) for part, size in held.items()}), numbers


def _name(stack: str, numbers: Sequence[int | None], child: str) -> str:
    if numbers == [None]:
        return stack
    return ".".join(name for name in (stack, _ranges([n for n in numbers if n is not None]), child) if name)


def _ranges(numbers: Sequence[int]) -> str:
    """`0-3,5` for 0, 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
