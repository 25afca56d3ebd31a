"""What tensors occupy, counted as they come and go: live bytes now, at the peak, and by what made them, the
phase of a step and, where that is followed, the module.

Counts storages, each once however many tensors look at it, so the figure is that of tensors: no allocator
slack, no workspace inside a kernel. It sees fake tensors as it sees real ones.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from studio.memory.places import Places

Owner = tuple[str, str]  # a module's path and a part
# The part of what a phase of a step makes, if nothing more is known of it.
MADE_IN = {"forward": "activations", "backward": "workspace", "optimizer step": "workspace"}
_ADD = torch.ops.aten.add.Tensor


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Active as a context manager. A new storage belongs to the part that is current (see `part`), or to
    `logits` if the last dimension of what made it is `vocabulary`.

    `live` and `peak` are bytes; `peak_parts` and `peak_sizes` are those at the moment of the peak, by part
    and by (module, part). `moment` is the part that was current then, `at` the module. What a storage belongs
    to is decided when it is made, or by `hold`. Without `places` every module is "".
    """

    def __init__(
        self, part: str = "other", vocabulary: int | None = None, places: Places | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.moment, self.at = part, ""
        self._part, self._vocabulary, self._places = part, vocabulary, places
        # What came and went, as (bytes, owner), and how much of it had by the time of the peak.
        self._changes: list[tuple[int, Owner]] = []
        self._until_peak = 0
        self._known: dict[int, Owner] = {}  # storages that live, by address of their implementation
        self._watches: dict[int, weakref.ref[Any]] = {}
        self._sum: _Sum | None = None

    def hold(self, tensors: Iterable[Tensor], part: str, module: str = "") -> None:
        """Count tensors that exist already; those that are counted move to `part` of `module`."""
        for tensor in tensors:
            self._see(tensor, part)
            key = tensor.untyped_storage()._cdata
            size = tensor.untyped_storage().nbytes()
            self._changes += (-size, self._known[key]), (size, (module, part))
            self._known[key] = module, part

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is made inside belongs to `name`."""
        before, self._part = self._part, name
        try:
            yield
        finally:
            self._part = before

    def restart_peak(self) -> None:
        """Forget the peak so far: it is what lives now."""
        self.peak, self.moment, self.at = self.live, self._part, self._module()
        self._until_peak = len(self._changes)

    @property
    def peak_sizes(self) -> Counter[Owner]:
        """Bytes by (module, part)."""
        sizes: Counter[Owner] = Counter()
        for size, owner in self._changes[: self._until_peak]:
            sizes[owner] += size
        return sizes

    @property
    def peak_parts(self) -> Counter[str]:
        """Bytes by part."""
        parts: Counter[str] = Counter()
        for (_, part), size in self.peak_sizes.items():
            parts[part] += size
        return parts

    def _module(self) -> str:
        return self._places.now if self._places else ""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._sum is not None:
            self._settle(self._sum)
        out = func(*args, **(kwargs or {}))
        in_backward = torch._C._current_autograd_node() is not None and not torch.is_grad_enabled()
        if func is _ADD and in_backward and isinstance(args[1], Tensor):
            self._sum = _Sum(args[0], args[1], out, (self._module(), self._part))
            return out
        for value in (out,) if isinstance(out, Tensor) else tree_iter(out):
            if isinstance(value, Tensor):
                self._see(value, self._part)
        return out

    def _settle(self, made: _Sum) -> None:
        """Count a sum of gradients once autograd has let go of what was summed. Left alone it adds in place,
        where nothing else looks at the first; under a dispatch mode it does not."""
        self._sum = None
        if (storage := made.storage()) is None:
            return
        shared = made.first in self._known  # so it could not be added in place
        gone = made.second_size if shared and made.second not in self._known else 0
        self.live += gone
        self._count(storage, made.owner)
        self.live -= gone

    def _see(self, tensor: Tensor, part: str) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known or tensor.device.type == "meta":
            return
        if self._vocabulary is not None and tensor.shape[-1:] == (self._vocabulary,):
            part = "logits"
        self._count(storage, (self._module(), part))

    def _count(self, storage: torch.UntypedStorage, owner: Owner) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = owner
        self._watches[key] = weakref.ref(storage, lambda _: self._gone(key, size))
        self.live += size
        self._changes.append((size, owner))
        if self.live > self.peak:
            self.restart_peak()

    def _gone(self, key: int, size: int) -> None:
        del self._watches[key]
        self.live -= size
        self._changes.append((-size, self._known.pop(key)))


class _Sum:
    """A sum of two gradients that autograd is about to take."""

    def __init__(self, first: Tensor, second: Tensor, out: Tensor, owner: Owner) -> None:
        self.first, self.second = first.untyped_storage()._cdata, second.untyped_storage()._cdata
        self.second_size = second.untyped_storage().nbytes()
        self.storage = weakref.ref(out.untyped_storage())
        self.owner = owner


def tensors_of(module: nn.Module, recurse: bool = True) -> Iterator[Tensor]:
    """Parameters and buffers of a module, and the scales that 4-bit weights bring along; with `recurse` those
    of the modules in it too."""
    for parameter in module.parameters(recurse):
        yield parameter.data
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            yield from _scales(state)
    yield from module.buffers(recurse)


def _scales(state: Any) -> Iterator[Tensor]:
    parts = (state.absmax, state.code, state.offset)
    yield from (part for part in parts if isinstance(part, torch.Tensor))
    if state.state2 is not None:
        yield from _scales(state.state2)
