"""What a step takes and gives back, in order: written down for a few layers, read for as many as there are.

A model's inner layers are alike, so what one of them does stands for all: a log of five layers becomes that
of eighty without running them. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

WRITTEN = 5  # layers of a log that can be repeated: the first two and the last two differ from the inner one
INNER = 3  # stretch of the inner layer; before it come what precedes the layers, and two layers


@dataclass
class Stretch:
    """Storages that were made (their size) and freed (~number, counted from the first one made) while one
    part of the model ran. `part` counts from what precedes the layers, 0, to what follows them."""

    part: int
    forward: bool
    entries: list[int] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        return [entry for entry in self.entries if entry >= 0]


class Takings:
    """A log in stretches, without storages below `least` bytes."""

    def __init__(self, least: int = 0) -> None:
        self.least = least
        self.stretches = [Stretch(0, True)]
        self.entries = self.stretches[0].entries
        self._taken = 0

    def take(self, size: int) -> int:
        """Note a new storage; its number, -1 for one that is passed over."""
        if size < self.least:
            return -1
        self.entries.append(size)
        self._taken += 1
        return self._taken - 1

    def give(self, number: int) -> None:
        """Note that it was freed."""
        if number >= 0:
            self.entries.append(~number)

    def reach(self, part: int, forward: bool) -> None:
        """A pass goes on to another part of the model."""
        self.stretches.append(Stretch(part, forward))
        self.entries = self.stretches[-1].entries

    @property
    def layers(self) -> int:
        """How many layers the model had that it was written for."""
        return max(stretch.part for stretch in self.stretches) - 1

    def flat(self) -> list[int]:
        """All entries."""
        return [entry for stretch in self.stretches for entry in stretch.entries]

    def repeated(self, layers: int) -> list[int] | None:
        """The entries as they would be with this many layers; None where the inner layers are not alike."""
        if not self._alike():
            return None
        return _Repetition(self.stretches, layers - WRITTEN + 1).entries

    def _alike(self) -> bool:
        by_part = {(stretch.part, stretch.forward): stretch.sizes for stretch in self.stretches}
        return self.layers == WRITTEN and all(
            by_part.get((INNER - 1, way)) == by_part.get((INNER, way)) == by_part.get((INNER + 1, way))
            for way in (True, False)
        )


class _Repetition:
    """A log in which the inner layer occurs `times`."""

    def __init__(self, stretches: list[Stretch], times: int) -> None:
        self.entries: list[int] = []
        self._times, self._taken = times, 0
        self._origin: list[tuple[int, int]] = []  # by old number: stretch and place among those made there
        # By stretch and repetition: new number of the first made.
        self._first: dict[tuple[int, int], int] = {}
        self._parts = [stretch.part for stretch in stretches]
        self._stretches = stretches
        self._inner_stretches = {s.forward: at for at, s in enumerate(stretches) if s.part == INNER}
        for index, stretch in enumerate(stretches):
            made = len(stretch.sizes)
            self._origin += [(index, place) for place in range(made)]
            if stretch.part == INNER:
                self._all_inner(index, made)
            else:
                self._begin(index, 0, made)
                self._once(index)

    def _begin(self, index: int, repetition: int, made: int) -> None:
        self._first[index, repetition] = self._taken
        self._taken += made

    def _number(self, index: int, repetition: int, place: int) -> int:
        return self._first[index, repetition] + place

    def _once(self, index: int) -> None:
        """A stretch that occurs once; where it frees what inner layers made, it frees it of all of them."""
        part, later = self._parts[index], False
        beside = {INNER - 1: range(1), INNER + 1: range(self._times - 1, self._times)}
        seen = beside.get(part, range(self._times))
        entries = self._stretches[index].entries
        for inner, run in groupby(entries, key=lambda e: e < 0 and self._from_inner(~e)):
            if inner:
                freed = [self._origin[~entry] for entry in run]
                for repetition in reversed(seen) if later else seen:
                    self.entries += [~self._number(at, repetition, made) for at, made in freed]
                continue
            for entry in run:
                if entry >= 0:
                    self.entries.append(entry)
                else:
                    at, made = self._origin[~entry]
                    self.entries.append(~self._number(at, 0, made))
                    later = self._parts[at] > INNER  # freed from the last layer to the first

    def _all_inner(self, index: int, made: int) -> None:
        """The inner layer as often as it occurs: between its ends, numbers rise evenly."""
        stretch = self._stretches[index]
        order = range(self._times) if stretch.forward else range(self._times)[::-1]
        for repetition in order:
            self._begin(index, repetition, made)
        if self._times < 4:
            written = [self._inner(index, repetition) for repetition in order]
        else:
            first, second, third, last = (self._inner(index, order[at]) for at in (0, 1, 2, -1))
            rising = [(entry, after - entry) for entry, after in zip(second, third, strict=True)]
            between = ([entry + rise * n for entry, rise in rising] for n in range(self._times - 2))
            written = [first, *between, last]
        for entries in written:
            self.entries += entries

    def _inner(self, index: int, repetition: int) -> list[int]:
        entries = self._stretches[index].entries
        return [
            entry if entry >= 0 else ~self._number(*self._seen_from(repetition, ~entry)) for entry in entries
        ]

    def _seen_from(self, repetition: int, number: int) -> tuple[int, int, int]:
        """What a repetition of the inner layer means by a storage: its own, its neighbour's, or one that
        there is once."""
        index, place = self._origin[number]
        step = self._parts[index] - INNER
        if step == 0:
            return index, repetition, place
        neighbour = repetition + step
        if abs(step) == 1 and 0 <= neighbour < self._times:
            return self._inner_stretches[self._stretches[index].forward], neighbour, place
        return index, 0, place

    def _from_inner(self, number: int) -> bool:
        return self._parts[self._origin[number][0]] == INNER
