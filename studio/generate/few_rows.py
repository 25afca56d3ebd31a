"""Linear layers that take two to four rows at about the price of one, on a processor in 32 bit."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_MOST = 4  # rows up to which it is clearly faster


def multiply_few_rows(model: nn.Module) -> None:
    """Let every linear layer of `model` multiply two to four rows as W x^T, in place.

    Decoding waits for the weights to come from memory. Over those of a 32M Llama, by one thread, one row
    takes 11 ms; two rows as x W^T 18 and as W x^T 6, four rows 15 and 12, eight 18 and 18. The sums are the
    same up to their order. benchmarks/decode.py has whole answers.
    """
    for layer in model.modules():
        # A class that inherits, as bitsandbytes' do, multiplies in its own way.
        if type(layer) is nn.Linear and _in_32_bit(layer.weight):
            layer.forward = partial(_forward, layer)  # type: ignore[method-assign]


def _in_32_bit(weight: Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    rows = x.numel() // layer.in_features
    if not 2 <= rows <= _MOST:
        return linear(x, layer.weight, layer.bias)
    product = torch.mm(layer.weight, x.reshape(rows, -1).t()).t().contiguous()
    if layer.bias is not None:
        product += layer.bias
    return product.view(*x.shape[:-1], layer.out_features)
