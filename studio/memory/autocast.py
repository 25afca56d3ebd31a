"""Autocast of a GPU where tensors are a processor's: the two differ in what they compute in 32 bit.

The lists are torch's own (ATen/autocast_mode.h). What autocast does in 16 bit is the same on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_KEY = "AutocastCPU"
# By name and overload, each. Their arguments are cast to 32 bit.
IN_32_BIT = """
    acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow.Tensor_Scalar
    pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm rms_norm group_norm frobenius_norm.dim
    nuclear_norm nuclear_norm.dim cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d
    hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss
    multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss
    binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp upsample_nearest1d
    _upsample_nearest_exact1d upsample_nearest2d _upsample_nearest_exact2d upsample_nearest3d
    _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa
    upsample_trilinear3d upsample_bicubic2d _upsample_bicubic2d_aa
"""
# Their result is in 32 bit where nobody says otherwise.
INTO_32_BIT = """
    prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm linalg_matrix_norm
    linalg_matrix_norm.str_ord sum sum.dim_IntList
"""
# In the widest format among their arguments.
IN_THE_WIDEST = """
    addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add
"""


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Inside, autocast on a processor computes in 32 bit what it would on a GPU. What a processor's own list
    has stays as it is."""
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    kinds = ((IN_32_BIT, _cast), (INTO_32_BIT, _resulting), (IN_THE_WIDEST, _widest))
    for name, changed in ((name, kind) for names, kind in kinds for name in names.split()):
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
        if not torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), _KEY):
            library.impl(operation, _instead(operation, changed), _KEY)
    try:
        yield
    finally:
        library._destroy()


Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _instead(operation: Any, changed: Callable[..., Arguments]) -> Callable[..., Any]:
    autocast = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _KEY))

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(autocast):
            args, kwargs = changed(args, kwargs)
            return operation(*args, **kwargs)

    return run


def _cast(args: tuple[Any, ...], kwargs: dict[str, Any], to: torch.dtype = torch.float32) -> Arguments:
    return tuple(_to(x, to) for x in args), {name: _to(x, to) for name, x in kwargs.items()}


def _resulting(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    said = any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
    if _narrow(args[0]) and not said:
        kwargs = {**kwargs, "dtype": torch.float32}
    return args, kwargs


def _widest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    values = (*args, *kwargs.values())
    wide = any(isinstance(x, Tensor) and x.dtype == torch.float32 for x in values)
    return _cast(args, kwargs) if wide else (args, kwargs)


def _to(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if _narrow(value) else value


def _narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
