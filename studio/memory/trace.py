"""What a training step would allocate: the real model class, method, loss and optimizer on fake tensors.

No GPU, no weights, seconds. Every tensor that lives is counted (`StorageTracker`); what an allocator keeps
beside them, and workspace inside a kernel, is not seen.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import masking_utils

from studio.errors import StudioError
from studio.identity import normalised_config
from studio.memory.as_cuda import kernels
from studio.memory.by_module import Layout, ModuleBytes, by_module
from studio.memory.cards import Capability, blas_workspace
from studio.memory.estimate import estimate
from studio.memory.fake import become_fake, meta_model, unpacked
from studio.memory.need import PARTS, Need
from studio.memory.places import Places
from studio.memory.rehearsal import Rehearsal, prepared
from studio.memory.tracker import MADE_IN, StorageTracker
from studio.models.anatomy import Anatomy
from studio.models.config import facts_of, surveyed_facts, to_survey, to_trace
from studio.models.load import weights_dtype
from studio.models.survey import found_family, survey
from studio.optimizers import adamw_8bit, none_paged
from studio.optimizers.paged_adamw_8bit import PAGED_FROM
from studio.plan import Plan, methods


def trace(
    plan: Plan, config: Mapping[str, Any], learned: float, capability: Capability | None = None
) -> Need:
    """The peak of one training step of a resolved plan on the model of a config.json.

    `learned` is the share of a row's tokens that carry loss. For a plan on a GPU its kernels are stood in for
    (`studio.memory.as_cuda`); there need not be one. `capability`: of the GPU, where known. A model of a
    family that the studio does not know is taken apart as for its survey. Raises what the method's `prepare`
    raises, and for such a model StudioError `architecture_unknown`, and as `studio.models.config.to_trace`.
    """
    settings, method = plan.settings, methods.get(plan.method)
    assert settings.batch is not None
    assert settings.seq is not None
    trains_base = method.capable("trains_base", plan.method_params)
    dtype = weights_dtype(settings.precision or "fp32", trains_base)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    quantisation = method.base_quantisation(plan.method_params)
    attention = "eager" if settings.attention == "eager" else None
    config = to_trace(config)
    surveyed = to_survey(config)
    config = normalised_config(config) if surveyed else config
    base = meta_model(config, dtype, quantisation, attention)
    family = found_family(base) if surveyed else None
    with unpacked():
        tuned, tuner = prepared(plan, base, family)
    become_fake(tuned, mode)
    labelled = settings.batch * max(1, round(learned * settings.seq))
    cuda = (settings.device or "cpu").startswith("cuda")
    flash = settings.attention == "flash"
    with mode, unpacked(), _as_if_real(flash), _Answers(labelled), kernels(tuned) if cuda else nullcontext():
        in_8_bit = plan.optimizer.state_bytes is adamw_8bit.state_bytes
        makeable = plan.with_settings(optimizer="adamw", optimizer_impl="fused") if in_8_bit else plan
        rehearsal = Rehearsal(makeable, base, tuned, tuner, "cpu", learned, family)
        paged: _InEightBits | None = None
        if in_8_bit:
            pages = cuda and plan.optimizer.paged_bytes is not none_paged
            paged = rehearsal.optimizer = _InEightBits(rehearsal.optimizer.param_groups, pages)
        anatomy = Anatomy(base, family)
        places = Places(rehearsal.computation)
        tracker = StorageTracker(vocabulary=anatomy.config.vocab_size, places=places)
        with places, tracker:
            rehearsal.hold(tracker)
            rehearsal.make_optimizer_state()
            rehearsal.hold_optimizer(tracker)
            tracker.restart_peak()
            rehearsal.step(tracker)
    facts = surveyed_facts(config, survey(config)) if surveyed else facts_of(config)
    blas = blas_workspace(settings.device, handles=2, capability=capability)
    need = _need(
        tracker,
        layout_of(rehearsal.computation, anatomy),
        blas,
        # An allocator is played back for the estimate alone; what it takes beyond the tensors is the same.
        lambda: estimate(plan, facts, learned, capability=capability).reserved,
    )
    return replace(need, parts=need.parts | {"paged": paged.paged}) if paged and paged.paged else need


def layout_of(root: nn.Module, anatomy: Anatomy) -> Layout:
    """Where in `root` the model of an anatomy is."""
    paths = {id(module): path for path, module in root.named_modules()}
    return Layout(paths[id(anatomy.decoder)], paths[id(anatomy.model)])


def _need(
    tracker: StorageTracker, layout: Layout, blas: int, reserved: Callable[[], tuple[int, int]]
) -> Need:
    parts = Counter[str]()
    for name, size in tracker.peak_parts.items():
        parts[MADE_IN.get(name, name)] += size
    modules = by_module(tracker.peak_sizes, layout, MADE_IN)
    if blas:
        parts["workspace"] += blas
        modules += (ModuleBytes("cublas", {"workspace": blas}),)
    return Need(
        "trace",
        {name: parts[name] for name in PARTS if parts[name]},
        tracker.moment,
        reserved,
        modules=modules,
        at=layout.name(tracker.at, tracker.moment),
    )


@contextmanager
def _as_if_real(flash: bool) -> Iterator[None]:
    """For fake tensors transformers makes masks that it does without for real ones. Flash attention, which
    torch's own kernel stands in for, needs none for windows either."""
    module: Any = masking_utils
    asked, module.is_tracing = module.is_tracing, lambda tensor=None: False  # noqa: ARG005
    masks = module.ALL_MASK_ATTENTION_FUNCTIONS
    if flash:
        masks["sdpa"] = masks["flash_attention_2"]
    try:
        yield
    finally:
        module.is_tracing = asked
        if flash:
            del masks["sdpa"]


class _InEightBits(Optimizer):
    """The state that bitsandbytes keeps; its own steps read numbers that fake tensors do not have."""

    def __init__(self, groups: list[dict[str, Any]], pages: bool) -> None:
        super().__init__(groups, {})
        self._pages, self.paged = pages, 0  # bytes in memory that no counter of tensors has

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        del closure
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            if self.state[weight]:
                continue
            small = weight.numel() < adamw_8bit.SMALLEST
            blocks = -(-weight.numel() // adamw_8bit.BLOCK)
            pages = self._pages and weight.numel() >= PAGED_FROM
            for name in ("state1", "state2"):
                dtype = torch.float32 if small else torch.uint8
                if pages:
                    self.paged += weight.numel()
                else:
                    self.state[weight][name] = torch.empty_like(weight, dtype=dtype)
                if not small:
                    self.state[weight][f"scales of {name}"] = weight.new_empty(blocks, dtype=torch.float32)


class _Answers(TorchDispatchMode):
    """Answers what depends on numbers that fake tensors do not have."""

    def __init__(self, labelled: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._labelled = labelled

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if func is torch.ops.aten.nonzero.default:
            return args[0].new_empty((self._labelled, args[0].ndim), dtype=torch.int64)
        if func is torch.ops.aten._grouped_mm.default and args[0].dtype != torch.bfloat16:
            # Kernels know 32 bit, their description for fake tensors does not.
            narrow = (argument.to(torch.bfloat16) for argument in args[:2])
            return func(*narrow, *args[2:], **(kwargs or {})).to(args[0].dtype)
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return True  # "is nothing padded, nothing packed?"
        return func(*args, **(kwargs or {}))


def main() -> None:
    """The process of `studio.memory.trace_apart`."""
    request = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        plan, capability = Plan.from_dict(request["plan"]), request["capability"]
        card = None if capability is None else (capability[0], capability[1])
        answer = trace(plan, request["config"], request["learned"], card).as_dict()
    except StudioError as error:
        answer = {"error": error.as_dict()}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
