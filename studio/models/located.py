"""Where a model of a family that is not known keeps its parts, found by watching one short forward pass.

Nothing is guessed from names: the layers are the longest list of modules that run one after the other, each
on what the one before it made; the norm is what makes the final states of the last one's; and the head's
result, with the scale or cap that the configuration names, must be the model's own logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise, product
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from studio.errors import StudioError
from studio.models.families import FAMILIES, WITHOUT_ATTENTION, Family

_TOKENS = 6
_ATTENTION = ("attn", "attention")
_found: WeakKeyDictionary[nn.Module, Family] = WeakKeyDictionary()
# Each module with the first tensor that it got and made, in the order in which they were done.
_Ran = list[tuple[nn.Module, Tensor, Tensor]]


def located(model: nn.Module) -> Family:
    """The family of a model, found once for it.

    Raises StudioError `architecture_without_attention`; `architecture_part_missing` (part) where a part is
    not found or the parts do not add up to the model's logits; `architecture_unknown` for a model without
    weights, which cannot run.
    """
    if model not in _found:
        kind = getattr(model, "config").model_type  # noqa: B009 - a module's attribute is a tensor or module
        if any(p.is_meta for p in model.parameters()):
            raise StudioError("architecture_unknown", architecture=kind, known=sorted(FAMILIES))
        _found[model] = _locate(model, kind)
    return _found[model]


def _locate(model: Any, kind: str) -> Family:
    def missing(part: str) -> StudioError:
        return StudioError("architecture_part_missing", architecture=kind, part=part)

    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if table is None:
        raise missing("embeddings")
    if head is None:
        raise missing("head")
    ran, logits = _watched(model, table)
    paths = {id(module): path for path, module in model.named_modules()}
    spans = {id(module): (given, made) for module, given, made in ran}
    order = [id(module) for module, _, _ in ran]
    layers = max(_chains(model, spans, order), key=len, default=None)
    if layers is None:
        raise missing("layers")
    attends = kind not in WITHOUT_ATTENTION and all(_has_attention(layer) for layer in layers)
    if not attends or _keeps_states(model):
        raise StudioError("architecture_without_attention", architecture=kind)
    where, _, name = paths[id(layers)].rpartition(".")
    inside = f"{where}."
    if not where or not paths[id(table)].startswith(inside):
        raise missing("embeddings")
    decoder, last = model.get_submodule(where), spans[id(layers[-1])][1]
    final = spans[id(decoder)][1] if id(decoder) in spans else None
    norms = [
        path
        for path, module in decoder.named_children()
        if id(module) in spans and _same(spans[id(module)][0], last) and _same(spans[id(module)][1], final)
    ]
    if not norms:
        raise missing("norm")
    found = Family(where, paths[id(table)].removeprefix(inside), name, norms[0], paths[id(head)])
    with torch.no_grad():
        made = head(final)
    return _with_scale(found, model.config.get_text_config(), made, logits, missing("logits"))


def _watched(model: Any, table: nn.Module) -> tuple[_Ran, Tensor]:
    """What ran in one pass over a few random tokens, and its logits. The model is as before afterwards."""
    ran: _Ran = []

    def see(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = _first_tensor((*args, *kwargs.values()))
        if isinstance(output, dict):
            output = output.get("last_hidden_state")
        made = _first_tensor(output if isinstance(output, tuple) else (output,))
        if given is not None and made is not None:
            ran.append((module, given, made))

    training = {module: module.training for module in model.modules()}
    weight: Any = table.weight
    size, generator = weight.shape[0], torch.Generator().manual_seed(0)
    ids = torch.randint(0, size, (1, _TOKENS), generator=generator).to(weight.device)
    with ExitStack() as undone, torch.no_grad():
        for module in model.modules():
            undone.callback(module.register_forward_hook(see, with_kwargs=True).remove)
        model.eval()
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    for module, before in training.items():
        module.training = before
    return ran, logits


def _first_tensor(values: Any) -> Tensor | None:
    return next((v for v in values if isinstance(v, Tensor)), None)


def _chains(
    model: nn.Module, spans: dict[int, tuple[Tensor, Tensor]], order: list[int]
) -> Iterator[nn.ModuleList]:
    """Lists of modules that ran once each, in their order, each on what the one before it made."""
    for held in model.modules():
        if not isinstance(held, nn.ModuleList) or not len(held):
            continue
        ids = [id(module) for module in held]
        if [i for i in order if i in set(ids)] != ids:
            continue
        if all(_same(spans[after][0], spans[before][1]) for before, after in pairwise(ids)):
            yield held


def _has_attention(layer: nn.Module) -> bool:
    words = (f"{path} {type(module).__name__}".lower() for path, module in layer.named_modules() if path)
    return any(any(a in word for a in _ATTENTION) for word in words)


def _keeps_states(model: Any) -> bool:
    """Whether what it looks back through is more than keys and values."""
    return any(
        isinstance(layer, LinearAttentionCacheLayerMixin)
        for layer in DynamicCache(config=model.config).layers
    )


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def _with_scale(family: Family, config: Any, made: Tensor, logits: Tensor, otherwise: StudioError) -> Family:
    """The family with the configuration's factor and bound that make the logits of what the head made."""

    def named(name: str) -> list[str | None]:
        return [None, name] if getattr(config, name, None) else [None]

    wanted = logits.float()
    exact = torch.finfo(logits.dtype).eps * 8 * wanted.abs().max()
    for multiply, divide, cap in product(
        named("logit_scale"), named("logits_scaling"), named("final_logit_softcapping")
    ):
        scaled = made.float() * (getattr(config, multiply) if multiply else 1)
        scaled = scaled / (getattr(config, divide) if divide else 1)
        if cap:
            bound = getattr(config, cap)
            scaled = bound * torch.tanh(scaled / bound)
        if scaled.shape == wanted.shape and (scaled - wanted).abs().max() <= exact:
            return replace(family, multiply=multiply, divide=divide, softcap=cap)
    raise otherwise
