"""Where a decoder layer has the matrices that a side network can start from, taken apart where one matrix is
several.

Q, K, V are what a family's queries, keys and values are made with; a matrix is (outputs, inputs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from studio.errors import StudioError
from studio.models.layer_form import LayerParts

# How the rows of one matrix for Q, K and V stand in it: those of all queries, keys, values in turn, or those
# of each key with its queries (one, several that share it, or all) before it and its value behind it.
_QKV = {
    "gpt2": "in turn",
    "phi3": "in turn",
    "gpt_neox": "by key",
    "falcon": "by key",
    "bloom": "by key",
}
_GATE_BEFORE_UP = ("phi3", "glm", "glm4")
# The norms before attention and before the MLP; a layer with only the first gives it to both.
_ATTENTION_NORMS = ("input_layernorm", "ln_1", "self_attn_layer_norm", "ln_attn")
_MLP_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2", "final_layer_norm", "ln_mlp")


@dataclass(frozen=True)
class Source:
    """A decoder layer's linear layers by role, as `studio.models.forms` calls them: `qkv` or `q_proj`,
    `k_proj`, `v_proj`; `o_proj`; `gate_up` or `gate_proj` and `up_proj`, or `up_proj` alone; `down_proj`."""

    layer: nn.Module
    modules: Mapping[str, nn.Module]
    heads: int
    head_dim: int
    family: str

    @classmethod
    def of(cls, layer: nn.Module, config: Any) -> Source:
        """Raises StudioError `side_init_unknown` (missing) for a layer without some of them, or with several
        in one matrix in an order that is not known."""
        parts = LayerParts.of(layer, config.hidden_size)
        modules = {} if parts is None else dict(zip(parts.linears, parts.modules, strict=True))
        family = config.model_type
        found = modules.keys() | (
            ("q_proj", "k_proj", "v_proj") if "qkv" in modules and family in _QKV else ()
        )
        if "gate_up" in modules and family in _GATE_BEFORE_UP:
            found = found | {"up_proj"}
        wanted = {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}
        if missing := sorted(wanted - found):
            raise StudioError("side_init_unknown", layer=type(layer).__name__, missing=missing)
        assert parts is not None
        heads = config.num_attention_heads
        return cls(layer, modules, heads, parts.linears["o_proj"][1][0] // heads, family)

    def apart(self, by_role: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows of all matrices (or a number for each row), with those of one matrix for several roles given
        to each; keys and values repeated for each query head that shares them."""
        rows = dict(by_role)
        if (fused := rows.pop("qkv", None)) is not None:
            rows |= zip(("q_proj", "k_proj", "v_proj"), self._split(fused), strict=True)
        if (fused := rows.pop("gate_up", None)) is not None:
            rows |= zip(("gate_proj", "up_proj"), fused.chunk(2), strict=True)
        return rows | {name: self._per_query(rows[name]) for name in ("k_proj", "v_proj")}

    def weights(self) -> dict[str, Tensor]:
        """The matrices by role, all apart."""
        return self.apart({role: dense(module) for role, module in self.modules.items()})

    def norms(self) -> tuple[Tensor | None, Tensor | None]:
        """What the norms before attention and before the MLP multiply each channel with (H,). None for a
        layer that normalises what they make, not what they read."""
        if not getattr(self.layer, "do_layer_norm_before", True):
            return None, None
        children = dict(self.layer.named_children())
        first = next((children[name] for name in _ATTENTION_NORMS if name in children), None)
        if first is None:
            return None, None
        second = next((children[name] for name in _MLP_NORMS if name in children), first)
        width = dense(self.modules["o_proj"]).shape[0]
        return _scale(first, width), _scale(second, width)

    def _split(self, fused: Tensor) -> tuple[Tensor, ...]:
        """The rows of Q, K and V."""
        split = fused.reshape(-1, self.head_dim, *fused.shape[1:])
        keys = (split.shape[0] - self.heads) // 2
        if _QKV[self.family] == "in turn":
            return tuple(part.flatten(0, 1) for part in torch.split(split, [self.heads, keys, keys]))
        split = split.reshape(keys, -1, *split.shape[1:])
        return split[:, :-2].flatten(0, 2), split[:, -2].flatten(0, 1), split[:, -1].flatten(0, 1)

    def _per_query(self, rows: Tensor) -> Tensor:
        split = rows.reshape(-1, self.head_dim, *rows.shape[1:])
        return split.repeat_interleave(self.heads // split.shape[0], 0).flatten(0, 1)


def dense(module: nn.Module) -> Tensor:
    """The weight (out, in) of a linear layer, out of its 4 bits if it is held in them."""
    weight = cast(Tensor, module.weight)
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.data.T if isinstance(module, Conv1D) else weight.data
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, state)


def _scale(norm: nn.Module, width: int) -> Tensor:
    """What a norm multiplies each channel with, however its family writes that: read off an input of mean
    zero and variance one, and its opposite, which takes a bias out."""
    weight = cast(Tensor, norm.weight)
    probe = torch.ones(1, 1, width, dtype=weight.dtype, device=weight.device)
    probe[..., 1::2] = -1
    with torch.no_grad():
        scale: Tensor = (norm(probe) - norm(-probe)) * probe / 2
    return scale[0, 0]
