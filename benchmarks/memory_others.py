"""One training step of another program by trace: the real model class and peft's LoRA on fake tensors, with
what the program does otherwise written out in torch.

It shares no code with the estimate, so that each checks the other. What a row's program does is stated in
memory_rows.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import peft
import torch
from bitsandbytes.nn.modules import Linear4bit
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from benchmarks.memory_kernels import (
    FlashAttention,
    FourBitProduct,
    FusedEntropy,
    FusedLinearEntropy,
    FusedLora,
    FusedNorm,
    FusedRope,
)
from benchmarks.memory_litgpt import LitGPT, hold_in_4_bit
from benchmarks.memory_rows import Row, published, quantisation_of, switches
from studio.memory.autocast import as_on_cuda
from studio.memory.cards import blas_workspace
from studio.memory.fake import become_fake, meta_model
from studio.memory.need import PARTS, Need
from studio.memory.switches import Switches
from studio.memory.tracker import MADE_IN, StorageTracker, tensors_of

_PAGED_FROM = 100_000  # numbers from which bitsandbytes pages a state (`optim/optimizer.py`)
_SCALED = 256  # numbers of an 8-bit state that share a scale


def traced(row: Row) -> Need:
    """The peak of a row of training."""
    model = _litgpt(row) if "litgpt" in row["source"] else _transformers(row)
    become_fake(model, mode := FakeTensorMode(allow_non_fake_inputs=True))
    with ExitStack() as stack:
        stack.enter_context(mode)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(as_on_cuda())
        step = _Step(row, model)
        stack.enter_context(_rope(step))
        tracker = stack.enter_context(StorageTracker(vocabulary=step.vocabulary))
        step.run(tracker)
    parts = Counter[str]()
    for name, size in tracker.peak_parts.items():
        parts[MADE_IN.get(name, name)] += size
    parts["workspace"] += blas_workspace("cuda", handles=2)
    found = {name: parts[name] for name in PARTS if parts[name]}
    return Need("trace", found, tracker.moment, lambda: (sum(found.values()),) * 2)


# Models


def _transformers(row: Row) -> nn.Module:
    """The model class with its adapter, on the meta device."""
    config = dict(published(row)["config"])
    attention = {"flash2": "seen_fused", "math": "seen_math"}[row["attention"]]
    base = meta_model(config, torch.bfloat16, quantisation_of(row), attention)
    norms = switches(row).kbit_casts
    for name, parameter in base.named_parameters():
        wide = norms == "all" or (norms == "norms" and "norm" in name)
        if wide and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()
    if row["method"] == "full":
        return base.requires_grad_(True).train()
    adapter = peft.LoraConfig(
        r=int(row["rank"]),
        lora_dropout=float(row["dropout"]),
        target_modules=row["targets"].split(),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(base, adapter).train()


def _litgpt(row: Row) -> nn.Module:
    with torch.device("meta"):
        model = LitGPT(published(row), int(row["rank"]), float(row["dropout"])).to(torch.bfloat16)
        if quantisation := quantisation_of(row):
            hold_in_4_bit(model, quantisation)
    return model.train()


# What runs in place of a layer's own code


def _flash2(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    """(rows, heads, tokens, width) to (rows, tokens, heads, width)."""
    if getattr(module, "repeats_keys", False):
        shared = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    query, key, value = (x.transpose(1, 2).to(torch.bfloat16) for x in (query, key, value))
    out: Tensor = FlashAttention.apply(query, key, value)
    return out, None


def _math(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    del module
    grouped = query.shape[1] != key.shape[1]
    out = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register("seen_fused", _flash2)
AttentionInterface.register("seen_math", _math)


def _drop(module: nn.Dropout, x: Tensor) -> Tensor:
    return torch.native_dropout(x, module.p, True)[0] if module.p else x


def _four_bit(module: Any, x: Tensor) -> Tensor:
    given, bias = x.dtype, module.bias
    bias = None if bias is None else bias.to(torch.bfloat16)
    with torch.autocast("cpu", enabled=False):
        out = FourBitProduct.apply(x.to(torch.bfloat16), module.out_features, module.in_features, bias)
    return out.to(given)


def _fused_lora(module: Any, x: Tensor) -> Tensor:
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    with torch.autocast("cpu", enabled=False):
        out: Tensor = FusedLora.apply(x, a, b, module.lora_dropout["default"].p)
    return out


def _stand_in(model: nn.Module, row: Row, s: Switches) -> None:
    """Give layers the code that they have on a GPU in this program."""
    for module in model.modules():
        one: Any = module
        name = type(module).__name__
        if isinstance(module, nn.Dropout):
            one.forward = partial(_drop, module)
        elif isinstance(module, Linear4bit):
            one.forward = partial(_four_bit, module)
        elif name.endswith("RMSNorm") and "rms" in s.kernels:
            one.forward = FusedNorm.apply
        elif "lora" in s.kernels and hasattr(module, "lora_A"):
            one.forward = partial(_fused_lora, module)
        elif name.endswith("Attention"):
            one.repeats_keys = "repeated" in s.kernels
        if row["checkpointing"] == "yes" and hasattr(module, "gradient_checkpointing"):
            one.gradient_checkpointing = True
            one._gradient_checkpointing_func = partial(checkpoint, use_reentrant=s.reentrant)


@contextmanager
def _rope(step: _Step) -> Iterator[None]:
    """Rotate in place where the program has a kernel for it."""
    if "rope" not in step.switches.kernels:
        yield
        return
    module: Any = import_module(type(step.base).__module__)
    before = module.apply_rotary_pos_emb

    def in_place(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *_: Any) -> tuple[Any, Any]:
        return FusedRope.apply(query, cos, sin), FusedRope.apply(key, cos, sin)

    module.apply_rotary_pos_emb = in_place
    try:
        yield
    finally:
        module.apply_rotary_pos_emb = before


# A step


class _Step:
    """One step of a program; two where it holds the outputs of one into the next."""

    def __init__(self, row: Row, model: nn.Module) -> None:
        self.row, self.model, self.switches = row, model, switches(row)
        self.base: Any = model.get_base_model() if isinstance(model, peft.PeftModel) else model
        self.vocabulary = self.base.get_output_embeddings().out_features
        _stand_in(model, row, self.switches)
        if row["method"] != "full" and row["checkpointing"] == "yes":
            self.base.enable_input_require_grads()
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.tokens = torch.zeros((int(row["batch"]), int(row["seq"])), dtype=torch.int64)
        self.presents: list[Tensor] = []

    def run(self, tracker: StorageTracker) -> None:
        """The peak is the tracker's."""
        self._hold(tracker)
        with tracker.part("optimizer"):
            optimizer = self._optimizer(tracker)
        tracker.restart_peak()
        kept = None
        again = self.switches.outputs_alive and self.switches.state_at_peak  # the same length comes again
        for _ in range(2 if again else 1):
            with tracker.part("forward"):
                loss, outputs = self._forward()
                kept = outputs if self.switches.outputs_alive else None
                del outputs
            with tracker.part("backward"):
                loss.backward()
            del loss
            with tracker.part("optimizer step"):
                if isinstance(optimizer, torch.optim.Optimizer) and self.switches.state_at_peak:
                    optimizer.step()
            for parameter in self.trained:
                parameter.grad = None
        del kept

    def _hold(self, tracker: StorageTracker) -> None:
        beside = self.row["method"] != "full"
        tracker.hold(tensors_of(self.model), "weights")
        tracker.hold((p.data for p in self.trained), "adapter" if beside else "weights")
        tracker.hold([self.tokens], "activations")
        for parameter in self.trained:
            parameter.register_post_accumulate_grad_hook(
                lambda p: tracker.hold([p.grad] if p.grad is not None else [], "gradients")
            )

    def _forward(self) -> tuple[Tensor, Any]:
        """The loss, and what the program has in hand when it gets it."""
        if isinstance(self.model, LitGPT):
            return self.model.loss(self.tokens)
        if self.row["loss"] == "torch" and self.switches.shift_copy is False:
            found = self.model(input_ids=self.tokens, labels=self.tokens)
            return found.loss, found
        s, autocast = self.switches, bool(self.switches.autocast)
        torch.set_autocast_enabled("cuda", autocast)  # peft asks for this one
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast), self._cached():
                loss, shown = self._shifted_loss()
                return loss, shown.float() if s.outputs_fp32 and shown is not None else shown
        finally:
            torch.set_autocast_enabled("cuda", False)

    @contextmanager
    def _cached(self) -> Iterator[None]:
        """gpt_bigcode of 4.48.1 goes on collecting keys and values where checkpointing is on; they are views
        of what made them."""
        if "cached" not in self.switches.kernels:
            yield
            return
        hooks = [
            block.attn.c_attn.register_forward_hook(lambda _, __, out: self.presents.append(out.detach()))
            for block in self.base.transformer.h
        ]
        try:
            yield
        finally:
            self.presents.clear()
            for hook in hooks:
                hook.remove()

    def _shifted_loss(self) -> tuple[Tensor, Tensor | None]:
        s = self.switches
        decoder = self.base.get_decoder() if hasattr(self.base, "model") else self.base.transformer
        states = decoder(input_ids=self.tokens, use_cache=False).last_hidden_state
        labels = self.tokens[:, 1:].reshape(-1)
        if self.row["loss"] == "fused_linear":
            rest = states[:, :-1].contiguous().view(-1, states.shape[-1])
            return FusedLinearEntropy.apply(rest, self.base.lm_head.weight), None
        logits = self.base.lm_head(states)  # `states` lives on: the loss is made in the same function
        shown = logits = logits.float() if s.upcast == "forward" else logits
        logits = logits.float() if s.upcast == "loss" else logits
        shifted = logits[:, :-1].contiguous().view(-1, self.vocabulary)
        if self.row["loss"] == "fused":
            loss = FusedEntropy.apply(shifted, labels).mean()
        else:
            loss = functional.cross_entropy(shifted.float() if s.autocast else shifted, labels)
        del shifted, logits
        return loss, shown

    def _optimizer(self, tracker: StorageTracker) -> torch.optim.Optimizer | list[Tensor]:
        """The optimizer with what an earlier step left, if one was before the longest batch. bitsandbytes'
        works in place; what it keeps of large tensors is paged, and not in torch's counter."""
        if self.row["optimizer"] != "adamw":
            return [state for p in self.trained if p.numel() < _PAGED_FROM for state in _eight_bit(p)]
        optimizer = torch.optim.AdamW(self.trained, foreach=True)
        if self.switches.state_at_peak:
            for parameter in self.trained:
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            optimizer.zero_grad()
            kept = (state for states in optimizer.state.values() for state in states.values())
            tracker.hold(kept, "optimizer")
        return optimizer


def _eight_bit(parameter: Tensor) -> Iterable[Tensor]:
    for _ in range(2):
        yield torch.zeros_like(parameter, dtype=torch.uint8)
        yield torch.zeros(-(-parameter.numel() // _SCALED))
