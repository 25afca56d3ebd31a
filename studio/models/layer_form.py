"""How a decoder layer of a family that is not known computes, by what its modules are and do on torch's meta
device, put into the words of `studio.models.forms`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from studio.models.anatomy import Anatomy, is_linear
from studio.models.forms import Form
from studio.models.surveyed import SurveyedSizes

_ATTENTION = ("attn", "attention")
_BY_FIRST_LETTER = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}


@dataclass(frozen=True)
class LayerParts:
    """The modules of a decoder layer. `linears`: (path, (inputs, outputs)) by role; `modules` are they.
    `experts` of `expert_width` each, 0 without them."""

    attention: nn.Module
    norms: tuple[nn.Module, ...]
    thinking: tuple[nn.Module, ...]
    linears: dict[str, tuple[str, tuple[int, int]]]
    modules: tuple[Any, ...]
    experts: int
    expert_width: int

    @classmethod
    def of(cls, layer: nn.Module, hidden: int) -> LayerParts | None:
        """None where the layer is not made of attention with queries, keys and values and of an MLP."""
        children = {
            name: module for name, module in layer.named_children() if is_norm(module) or _has_weights(module)
        }
        norms = {name for name, module in children.items() if is_norm(module)}
        looking = [name for name in children if name not in norms and any(a in name for a in _ATTENTION)]
        thinking = set(children) - norms - set(looking)
        if len(looking) != 1:
            return None
        found: dict[str, Any] = {path: module for path, module in layer.named_modules() if is_linear(module)}
        sizes = {path: _size(module) for path, module in found.items()}
        within = f"{looking[0]}."
        attention = _attention_roles({p: s for p, s in sizes.items() if p.startswith(within)}, hidden)
        rest = {p: s for p, s in sizes.items() if not p.startswith(within)}
        stacks = [tuple(p.shape) for p in layer.parameters() if p.ndim == 3]
        mlp = _mlp_roles(rest, hidden)
        if attention is None or not (mlp or stacks):
            return None
        others = {path: path for path in rest if path not in mlp.values()}
        roles = attention | mlp | others
        smallest = min(stacks, key=lambda shape: shape[1] * shape[2], default=(0, 0, 0))
        return cls(
            children[looking[0]],
            tuple(children[name] for name in children if name in norms),
            tuple(children[name] for name in children if name in thinking),
            {role: (path, sizes[path]) for role, path in roles.items()},
            tuple(found[path] for path in roles.values()),
            smallest[0],
            smallest[1] * smallest[2] // hidden,
        )


def is_norm(module: nn.Module) -> bool:
    """By its class's name: transformers has some forty classes of norms."""
    return "norm" in type(module).__name__.lower()


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _size(module: nn.Linear | Conv1D) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    inputs, outputs = module.weight.shape
    return inputs, outputs


def _attention_roles(sizes: dict[str, tuple[int, int]], hidden: int) -> dict[str, str] | None:
    """Paths by role; None where it is not made of these."""
    if len(sizes) == 2:
        back, whole = sorted(sizes, key=lambda path: sizes[path][1])
        fits = sizes[whole][0] == hidden and sizes[back][1] == hidden
        return {"qkv": whole, "o_proj": back} if fits else None
    roles = {_BY_FIRST_LETTER.get(path.rpartition(".")[2][0], "o_proj"): path for path in sizes}
    usual = [*_BY_FIRST_LETTER.values(), "o_proj"]
    if len(sizes) != 4 or set(roles) != set(usual) or any(sizes[roles[r]][0] != hidden for r in usual[:3]):
        return None
    return {role: roles[role] for role in usual}


def _mlp_roles(sizes: dict[str, tuple[int, int]], hidden: int) -> dict[str, str]:
    """Paths by role, empty where there is no MLP (or are several): one matrix back to the model's width, and
    before it one, one of twice the width, or two."""
    into = {path: outputs for path, (inputs, outputs) in sizes.items() if inputs == hidden and outputs > 1}
    for path, (inputs, outputs) in sizes.items():
        if outputs != hidden:
            continue
        wide = [p for p, n in into.items() if p != path and n in (inputs, 2 * inputs)]
        if len(wide) == 1:
            return {"up_proj" if into[wide[0]] == inputs else "gate_up": wide[0], "down_proj": path}
        if len(wide) == 2:
            return {"gate_proj": wide[0], "up_proj": wide[1], "down_proj": path}
    return {}


def form_of_layer(anatomy: Anatomy, parts: LayerParts, sizes: SurveyedSizes) -> Form:
    """How the layer with these parts computes."""
    config, order = anatomy.config, _order(anatomy, parts)
    turned = _turned(config, sizes.head_dim)
    positions = _positions(anatomy)
    narrow = {path.rpartition(".")[2][0] for path, m in parts.attention.named_modules() if is_norm(m)}
    fused = "gate_up" in parts.linears
    mlp = "fused" if fused else "gated" if "gate_proj" in parts.linears else "plain"
    thinking = [m for part in parts.thinking for m in part.modules()]
    shared = parts.linears["down_proj"][1][0] if parts.experts and "down_proj" in parts.linears else 0
    names = {type(m).__name__ for m in anatomy.decoder.modules()}
    return Form(
        norm=_norm(parts.norms[0], sizes.hidden),
        mlp="experts" if parts.experts else mlp,
        shared_expert=shared,
        activation=_activation(thinking),
        parallel=order.parallel,
        one_norm=order.parallel and len(parts.norms) == 1,
        after=not order.before and not order.within,
        bare=not order.before and order.within,
        sandwich=order.within,
        norms=len(parts.norms),
        head_norms=tuple(part for part in ("query", "key") if part[0] in narrow),
        fused_qkv="slices" if "qkv" in parts.linears else None,
        rope=any("Rotary" in name for name in names) or hasattr(config, "rotary_dim"),
        partial=turned < 1,
        turned=turned,
        capped=bool(getattr(config, "attn_logit_softcapping", None)),
        eager=config._attn_implementation == "eager",
        scaled=getattr(config, "residual_multiplier", 1) != 1,
        biased=frozenset(
            role for role, module in zip(parts.linears, parts.modules, strict=True) if module.bias is not None
        ),
        positions=None if positions is None else positions - (sizes.context or 0),
        dropped=number(config, "resid_pdrop", "residual_dropout", "hidden_dropout", "dropout") > 0,
        dropped_scores=number(config, "attn_pdrop", "attention_dropout", "attention_probs_dropout_prob") > 0,
    )


def number(config: Any, *names: str) -> float:
    """The first of these settings that a configuration has, 0 without any."""
    return next((float(v) for n in names if isinstance(v := getattr(config, n, None), int | float)), 0.0)


def _turned(config: Any, head_dim: int) -> float:
    """The share of a head that is rotated."""
    if dim := getattr(config, "rotary_dim", None):
        return float(dim) / head_dim
    rope = getattr(config, "rope_parameters", None) or {}
    share = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    return float(share or getattr(config, "partial_rotary_factor", None) or 1.0)


def _positions(anatomy: Anatomy) -> int | None:
    """Rows of a learned table of positions: an embedding beside that of the tokens."""
    tables = (m for m in anatomy.decoder.children() if isinstance(m, nn.Embedding))
    return next((m.num_embeddings for m in tables if m is not anatomy.embeddings), None)


class _Operations(TorchDispatchMode):
    """Names and results of what is computed inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple) else out
        if isinstance(first, Tensor):
            self.seen.append((func.overloadpacket.__name__, first))
        return out


def _operations(module: nn.Module, width: int) -> list[tuple[str, Tensor]]:
    operations, given = _Operations(), torch.empty(1, 2, width, dtype=torch.bfloat16, device="meta")
    with torch.no_grad(), operations:
        module(given)
    return operations.seen


def _norm(norm: nn.Module, width: int) -> str:
    """By what it computes: torch's own kernel, two means (of the numbers and of their squares) or one; and in
    which precision the weight comes in."""
    seen = _operations(norm, width)
    kernel = next((out.dtype for name, out in seen if name == "native_layer_norm"), None)
    if kernel is not None:
        return "layer" if kernel == torch.bfloat16 else "wide_layer"
    if sum(name == "mean" for name, _ in seen) > 1:
        return "cohere"
    products = [out.dtype for name, out in seen if name == "mul"]
    if products and products[-1] == torch.bfloat16:
        return "rms"
    return "gemma" if any(name == "add" and out.ndim == 1 for name, out in seen) else "wide"


def _activation(thinking: list[nn.Module]) -> str:
    """By what a backward pass needs of it: its input, its result, a result on the way to it, or several."""
    plain = (m for m in thinking if not _has_weights(m) and not isinstance(m, nn.Dropout))
    module = next((m for m in plain if not list(m.children()) or "Activation" in type(m).__name__), None)
    if module is None:
        return "kernel"
    given = torch.empty(1, 2, 8, dtype=torch.bfloat16, device="meta", requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = module.train()(given)
    storages = {tensor.untyped_storage()._cdata for tensor in kept}
    if len(storages) > 1:
        return "gelu_new"
    if made.untyped_storage()._cdata in storages:
        return "output"
    return "kernel" if given.untyped_storage()._cdata in storages else "squared"


@dataclass(frozen=True)
class _Order:
    """`before`: attention reads through a norm; `within`: what it made goes through one before it is added;
    `parallel`: the MLP reads nothing of it."""

    before: bool
    within: bool
    parallel: bool


class _Reached(Exception):
    """The MLP is about to run; there is no need to go on."""


def _order(anatomy: Anatomy, parts: LayerParts) -> _Order:
    """Follows a few tokens through the model, up to the MLP of the layer."""
    made: list[Tensor] = []
    normed: list[Tensor] = []
    before: list[bool] = []
    adds: list[bool] = []

    def norm_runs(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        normed.append(_tensor(inputs, given))

    def attention_runs(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        before.append(bool(normed))
        # Some are given the residual too, and add it themselves.
        adds.append(any(x is read for x in (*inputs, *given.values()) for read in normed))

    def attention_ran(_: Any, __: Any, out: Any) -> None:
        made.append(out[0] if isinstance(out, tuple) else out)

    def mlp_runs(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        normed.append(_tensor(inputs, given))
        raise _Reached

    with ExitStack() as hooks:
        for norm in parts.norms:
            hooks.callback(norm.register_forward_pre_hook(norm_runs, with_kwargs=True).remove)
        hooks.callback(parts.attention.register_forward_pre_hook(attention_runs, with_kwargs=True).remove)
        hooks.callback(parts.attention.register_forward_hook(attention_ran).remove)
        for part in parts.thinking:
            hooks.callback(part.register_forward_pre_hook(mlp_runs, with_kwargs=True).remove)
        hooks.enter_context(_NothingPadded())
        hooks.enter_context(suppress(_Reached))
        anatomy.decoder(torch.zeros(1, 8, dtype=torch.long, device="meta"), use_cache=False)
    *norms, read = normed
    within = bool(made) and not adds[0] and any(_same(norm, made[0]) for norm in norms)
    return _Order(bool(before) and before[0], within, not (made and _follows(read, made[0])))


class _NothingPadded(TorchDispatchMode):
    """Answers what masks are asked, "is nothing padded, nothing packed?", without numbers to look at."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return True
        return func(*args, **(kwargs or {}))


def _tensor(inputs: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
    return next(v for v in (*inputs, *given.values()) if isinstance(v, Tensor))


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or one.grad_fn is other.grad_fn


def _follows(later: Tensor, earlier: Tensor) -> bool:
    """Whether one tensor was computed from the other."""
    return any(node is earlier.grad_fn for node in _ancestors(later.grad_fn))


def _ancestors(node: Any) -> Iterator[Any]:
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [before for before, _ in node.next_functions]
