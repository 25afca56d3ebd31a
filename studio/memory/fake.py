"""A base model of any size without its weights: transformers' own classes around tensors of no memory.

It is built on the meta device, where a method can be put onto it. Then its tensors become fake ones: what
runs on them runs the real code and allocates what real tensors would, as far as a tracker can see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft.tuners.lora import dora
from peft.utils import integrations
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from studio.errors import StudioError
from studio.models.families import FAMILIES
from studio.models.quantisation import Quantisation
from studio.train import lora_start

_BLOCK = 64  # weights of a 4-bit matrix that share a scale
_OUTER_BLOCK = 256  # scales that share one, where they are quantised too


def meta_model(
    config: Mapping[str, Any],
    dtype: torch.dtype,
    quantisation: Quantisation | None = None,
    attention: str | None = None,
) -> nn.Module:
    """The causal language model of a config.json on the meta device, frozen, in evaluation mode.

    `dtype` and `quantisation` as for `studio.models.load.load_model`; `attention` is transformers' name of a
    kernel. Raises StudioError `architecture_unknown` where transformers has no such model.
    """
    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise StudioError("architecture_unknown", architecture=kind, known=sorted(FAMILIES))
    with torch.device("meta"), _NoDraws():
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.for_model(**config), dtype=dtype, attn_implementation=attention
        )
        if quantisation is not None:
            _hold_in_4_bit(model, quantisation, dtype)
    return cast(nn.Module, model.eval().requires_grad_(False))


class _NoDraws(TorchFunctionMode):
    """Random starts of weights cost time even where there is nothing to fill."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def become_fake(model: nn.Module, mode: FakeTensorMode) -> None:
    """Put a fake tensor of `mode` in the place of every tensor of a model; what was shared stays shared."""
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            with mode:
                like = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            made[id(tensor)] = _in_place_of(tensor, like, fake)
        return made[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = cast(Any, fake(tensor))


def _in_place_of(old: Tensor, new: Tensor, fake: Callable[[Tensor], Tensor]) -> Tensor:
    if not isinstance(old, nn.Parameter):
        return new
    parameter: Any = nn.Parameter(new, old.requires_grad)
    if (state := getattr(old, "quant_state", None)) is not None:
        for scales in (state, state.state2) if state.nested else (state,):
            scales.absmax, scales.code = fake(scales.absmax), fake(scales.code)
        if state.nested:
            state.offset = fake(state.offset)
        parameter.quant_state = state
    return cast(Tensor, parameter)


@contextmanager
def unpacked() -> Iterator[None]:
    """Inside, whoever asks peft for the whole weight of a layer held in 4 bit gets it. peft knows such a
    layer by its weight's class, which a tensor without numbers cannot have: here the layer says so itself."""
    places: tuple[Any, ...] = (dora, lora_start)
    asked = integrations.dequantize_module_weight

    def whole(layer: nn.Module) -> Tensor:
        if (state := getattr(layer, "quant_state", None)) is None:
            return asked(layer)
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(cast(Any, layer).weight.data, state)

    for module in places:
        module.dequantize_module_weight = whole
    try:
        yield
    finally:
        for module in places:
            module.dequantize_module_weight = asked


def _hold_in_4_bit(model: nn.Module, quantisation: Quantisation, dtype: torch.dtype) -> None:
    """Every linear layer but the head becomes bitsandbytes' own, around a packed weight."""
    held: Any = model
    held.is_loaded_in_4bit = True  # peft puts another kind of adapter beside such layers
    head = held.get_output_embeddings()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, (nn.Linear, Conv1D)) and layer is not head:
                setattr(parent, name, _linear_4bit(layer, quantisation, dtype))


def _linear_4bit(layer: nn.Linear | Conv1D, quantisation: Quantisation, dtype: torch.dtype) -> nn.Module:
    from bitsandbytes.nn.modules import Linear4bit

    rows, columns = layer.weight.shape if isinstance(layer, nn.Linear) else reversed(layer.weight.shape)
    held = Linear4bit.__new__(Linear4bit)
    nn.Module.__init__(held)
    packed: Any = nn.Parameter(torch.empty((rows * columns // 2, 1), dtype=torch.uint8), False)
    packed.quant_state = _quant_state(rows, columns, quantisation, dtype)
    packed.compress_statistics, packed.quant_type = quantisation.double, quantisation.kind
    packed.quant_storage, packed.blocksize, packed.bnb_quantized = torch.uint8, _BLOCK, True
    held.in_features, held.out_features = columns, rows
    held.weight, held.bias = packed, layer.bias
    held.compute_dtype, held.compute_type_is_set = dtype, True
    held.quant_state, held.quant_storage = packed.quant_state, torch.uint8
    held.support_avx512bf16_for_cpu = False
    return held


def _quant_state(rows: int, columns: int, quantisation: Quantisation, dtype: torch.dtype) -> Any:
    from bitsandbytes import functional

    state: Any = functional.QuantState
    blocks = -(-rows * columns // _BLOCK)
    shared: dict[str, Any] = {"code": torch.empty(16), "blocksize": _BLOCK}
    outer = {}
    if quantisation.double:
        scales = state(
            absmax=torch.empty(-(-blocks // _OUTER_BLOCK)),
            code=torch.empty(256),
            blocksize=_OUTER_BLOCK,
            dtype=torch.float32,
        )
        outer = {"offset": torch.empty(()), "state2": scales}
    absmax = torch.empty(blocks, dtype=torch.uint8 if quantisation.double else torch.float32)
    return state(
        absmax=absmax,
        shape=torch.Size((rows, columns)),
        quant_type=quantisation.kind,
        dtype=dtype,
        **shared,
        **outer,
    )
