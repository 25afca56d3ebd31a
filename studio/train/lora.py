"""LoRA through peft: adapters beside the linear layers, saved in peft's own format.

Where the matrices begin with a part of the base (`Start.rewrites`), that part is taken out of the base in
memory. What is saved stays a change against the untouched base: an adapter of twice the rank, whose second
half is the beginning with its sign turned. Resuming reads the beginning from there and takes it out again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from math import sqrt
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import (
    AuxiliaryTrainingWrapper,
    ModulesToSaveWrapper,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from studio.errors import StudioError
from studio.merge.expand_adapter import WEIGHTS, expanded
from studio.methods.lora import ALL, STARTS, LoraParams
from studio.models.anatomy import Anatomy
from studio.models.modules import named
from studio.train import dora
from studio.train.dropout import Dropout
from studio.train.lora_start import Factors, starts, whole_weight
from studio.train.tuner import Tuner, TunerContext, trained_dtype

_ADAPTER = "default"
_A, _B = ".lora_A.weight", ".lora_B.weight"
_PREFIX = "base_model.model."


class LoraTuner(Tuner):
    """A trained product of two thin matrices beside each target."""

    params: LoraParams

    def __init__(self, params: LoraParams) -> None:
        super().__init__(params)
        self._began: dict[str, Factors] = {}  # by path: what was taken out of the base

    @property
    def scaling(self) -> float:
        """What the product of the two matrices is multiplied by."""
        return self.params.alpha / (sqrt(self.params.rank) if self.params.rslora else self.params.rank)

    def prepare(self, model: nn.Module, context: TunerContext) -> nn.Module:
        """Raises StudioError `target_unknown` if a target names no linear layer of the decoder,
        `module_unknown`, `token_unknown`, `targets_all_whole`, `target_of_experts`, `init_rank_too_high`."""
        config, start = self._config(context), STARTS[self.params.init]
        paths = sorted(cast(set[str], config.target_modules))
        # Random beginnings come from the global generator: give it the run's seed, and its state back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.generator.initial_seed())
            factors = list(starts(start, context, paths, self.params.rank, self.scaling))
            tuned = _attached(model, config)
        _trainable(tuned, self.params.dropout, context.plan.settings)
        for path, began in factors:
            self._begin(_lora_layer(tuned, path), path, began)
        dora.begin(tuned, _ADAPTER)
        return cast(nn.Module, tuned)

    @torch.no_grad()
    def _begin(self, layer: Any, path: str, factors: Factors) -> None:
        """Let a layer's matrices begin with these."""
        a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        a.copy_(factors[0])
        b.copy_(factors[1])
        if STARTS[self.params.init].rewrites:
            self._take_out(layer, path, (a.detach().clone(), b.detach().clone()))

    @torch.no_grad()
    def _take_out(self, layer: Any, path: str, began: Factors) -> None:
        """Make the base weight what it lacks of itself beside A and B as they began."""
        base, (a, b) = layer.get_base_layer(), began
        rest = whole_weight(base) - self.scaling * (b.float() @ a.float())
        base.weight.data = (rest.T if isinstance(base, Conv1D) else rest).to(base.weight.dtype).contiguous()
        self._began[path] = began

    def save(self, model: nn.Module, folder: Path) -> None:
        peft_model = cast(PeftModel, model)
        weights = get_peft_model_state_dict(peft_model, adapter_name=_ADAPTER, save_embedding_layers=False)
        # A path of this machine says nothing elsewhere: the base is named by its hash, in the manifest.
        config = cast(LoraConfig, copy(peft_model.peft_config[_ADAPTER]))
        config.base_model_name_or_path, config.inference_mode = None, True
        if self._began:
            config.r, config.use_rslora = 2 * self.params.rank, False
            config.lora_alpha = cast(int, self.scaling * config.r)  # a fraction is fine, as in `_config`
            for path, (a, b) in self._began.items():
                weights[f"{_PREFIX}{path}{_A}"] = torch.cat([weights[f"{_PREFIX}{path}{_A}"], a])
                weights[f"{_PREFIX}{path}{_B}"] = torch.cat([weights[f"{_PREFIX}{path}{_B}"], -b], dim=1)
        save_file(
            {name: _own(tensor) for name, tensor in weights.items()},
            folder / WEIGHTS,
            metadata={"format": "pt"},
        )
        config.save_pretrained(str(folder))

    def load(self, model: nn.Module, folder: Path, context: TunerContext | None = None) -> nn.Module:
        if context is None:
            return _for_use(model, folder)
        tuned = _attached(model, self._config(context))
        # Before the weights come: what trains whole is a copy in the base's dtype until then.
        _trainable(tuned, self.params.dropout, context.plan.settings)
        weights = load_file(folder / WEIGHTS)
        if STARTS[self.params.init].rewrites:
            self._take_out_saved(tuned, weights)
        set_peft_model_state_dict(tuned, weights, adapter_name=_ADAPTER)
        return cast(nn.Module, tuned)

    def _take_out_saved(self, tuned: PeftModel, weights: dict[str, Tensor]) -> None:
        """Undo `save`'s doubling in `weights`: its second half is what is missing in the base."""
        rank = self.params.rank
        for name in [name for name in weights if name.endswith(_A)]:
            path = name.removeprefix(_PREFIX).removesuffix(_A)
            both, layer = f"{_PREFIX}{path}{_B}", _lora_layer(tuned, path)
            device = layer.lora_A[_ADAPTER].weight.device
            a, b = weights[name][rank:].clone(), -weights[both][:, rank:]
            self._take_out(layer, path, (a.to(device), b.to(device)))
            weights[name], weights[both] = weights[name][:rank], weights[both][:, :rank]

    def merge(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, LoraLayer):
                # Their product is then rounded once, when it is added to the base.
                module.lora_A.float()
                module.lora_B.float()
        return cast(nn.Module, cast(Any, model).merge_and_unload())

    @torch.no_grad()
    def weigh(self, part: nn.Module, weight: float) -> None:
        """Let what was learned count by `weight` in a part of a model: merged into its weights, and of those
        the ones in between."""
        for module in part.modules():
            if isinstance(module, LoraLayer):
                module.lora_A.float()  # as for `merge`
                module.lora_B.float()
            if isinstance(module, BaseTunerLayer):
                base = cast(Any, module.get_base_layer())
                before = base.weight.data.clone()
                module.merge()
                base.weight.data = before.lerp_(base.weight.data, weight)
            elif isinstance(module, ModulesToSaveWrapper):
                saved = dict(module.modules_to_save[_ADAPTER].named_parameters())
                for name, own in module.original_module.named_parameters():
                    own.data = own.data.lerp(saved[name].data.to(own.dtype), weight)
                module.enable_adapters(False)

    def disabled(self, model: nn.Module) -> Any:
        """None where the base beneath the adapter is not the untouched one."""
        return None if STARTS[self.params.init].rewrites else _switched_off(cast(PeftModel, model))

    def active(self, model: nn.Module) -> Any:
        kinds = BaseTunerLayer, AuxiliaryTrainingWrapper
        layers = [module for module in model.modules() if isinstance(module, kinds)]
        return [(layer.disable_adapters, layer.active_adapters) for layer in layers]

    def param_groups(self, model: nn.Module, settings: Any) -> list[dict[str, Any]]:
        """With LoRA+ (Hayou et al. 2024, arXiv 2402.12354) the second matrices in groups of their own."""
        groups = super().param_groups(model, settings)
        if self.params.lora_plus == 1.0:
            return groups
        second = {id(p) for name, p in model.named_parameters() if ".lora_B." in name}
        split = []
        for group in groups:
            for faster in (False, True):
                members = [p for p in group["params"] if (id(p) in second) == faster]
                rate = {"lr": settings.lr * self.params.lora_plus} if faster else {}
                split.append({**group, "params": members, **rate})
        return [group for group in split if group["params"]]

    def _config(self, context: TunerContext) -> LoraConfig:
        anatomy, params = context.anatomy, self.params
        whole = _modules(anatomy, params.modules_to_save)
        tied = anatomy.embeddings.weight is getattr(anatomy.head, "weight", None)
        table, head = _path(anatomy, anatomy.embeddings), _path(anatomy, anatomy.head)
        # Single vectors of a table that trains whole train with it.
        single = not ({table, head} if tied else {table}) & set(whole)
        targets = [path for path in _targets(anatomy, params.targets) if path not in whole]
        if not targets:
            raise StudioError("targets_all_whole", modules=list(params.modules_to_save))
        config = LoraConfig(
            r=params.rank,
            lora_alpha=cast(int, params.alpha),  # peft divides by the rank; a fraction is fine
            lora_dropout=params.dropout,
            target_modules=targets,
            fan_in_fan_out=any(isinstance(m, Conv1D) for _, m in anatomy.linears()),
            use_rslora=params.rslora,
            use_dora=params.dora,
            modules_to_save=whole or None,
            trainable_token_indices=(_token_ids(context, params.trainable_tokens) or None)
            if single
            else None,
            ensure_weight_tying=tied and bool({table, head} & set(whole)),
            task_type="CAUSAL_LM",
        )
        _refuse_experts(config, anatomy)
        return config


class QloraTuner(LoraTuner):
    """LoRA over a base in 4 bit."""

    def merge(self, model: nn.Module) -> nn.Module:
        """Into the very weights that the adapter was trained on, out of their 4 bits: exact."""
        peft_model = cast(Any, model)
        config = peft_model.peft_config[_ADAPTER]
        weights = get_peft_model_state_dict(peft_model, adapter_name=_ADAPTER, save_embedding_layers=False)
        tuned = _attached(peft_model.unload().dequantize(), config)
        set_peft_model_state_dict(tuned, weights, adapter_name=_ADAPTER)
        return super().merge(tuned)


def _refuse_experts(config: LoraConfig, anatomy: Anatomy) -> None:
    """peft takes an MLP that every token goes through for the experts beside it, by its names, and wraps
    those instead: StudioError `target_of_experts` (targets, known: others)."""
    taken, wanted = deepcopy(config), set(cast(list[str], config.target_modules))
    with suppress(ValueError):  # only some of them are wanted
        convert_peft_config_for_transformers(taken, anatomy.model, None)
        if set(taken.target_modules or ()) == wanted:
            return
    names = {path.rpartition(".")[2] for path in wanted}
    attending = {path.rpartition(".")[2] for path in wanted if "attn" in path or "attention" in path}
    raise StudioError("target_of_experts", targets=sorted(names - attending), known=sorted(attending))


def _attached(model: nn.Module, config: LoraConfig) -> PeftModel:
    tuned = cast(PeftModel, get_peft_model(cast(Any, model), config, adapter_name=_ADAPTER))
    dora.in_32_bit(tuned, _ADAPTER)
    return tuned


def _for_use(model: nn.Module, folder: Path) -> nn.Module:
    """A saved adapter on a base. peft widens it to 32 bit; where it was trained in the base's 16, it answers
    in those too, as it did in training."""
    dtype = cast(Any, model).dtype
    with expanded(folder) as plain:
        tuned = PeftModel.from_pretrained(cast(Any, model), str(plain), adapter_name=_ADAPTER)
        with safe_open(plain / WEIGHTS, framework="pt") as saved:
            kinds = {name: saved.get_slice(name).get_dtype() for name in saved.keys()}  # noqa: SIM118 - no mapping
    dora.in_32_bit(tuned, _ADAPTER)
    for name, parameter in tuned.named_parameters():
        if dtype == torch.bfloat16 and kinds.get(name.replace(f".{_ADAPTER}", "")) == "BF16":
            parameter.data = parameter.data.to(dtype)
    return cast(nn.Module, tuned.eval())


@contextmanager
def _switched_off(model: PeftModel) -> Iterator[None]:
    with model.disable_adapter():
        yield


def _own(tensor: Tensor) -> Tensor:
    """The tensor on the CPU in memory of its own: a table and its tied head are one, and PEFT reads both."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _lora_layer(model: PeftModel, path: str) -> Any:
    return model.get_base_model().get_submodule(path)


def _targets(anatomy: Anatomy, wanted: tuple[str, ...]) -> list[str]:
    """Full paths of the linear layers to adapt: paths, because a tower beside the text may use the same
    names."""
    linears = [path for path, _ in anatomy.linears()]
    if wanted in ALL:
        return linears
    known = {path.rpartition(".")[2] for path in linears}
    for name in wanted:
        if not any(named(path, name) for path in linears):
            raise StudioError("target_unknown", target=name, known=sorted(known))
    return [path for path in linears if any(named(path, name) for name in wanted)]


def _modules(anatomy: Anatomy, wanted: tuple[str, ...]) -> list[str]:
    """Full paths of the modules to train whole, each given by path or by the end of it. Only modules of the
    text tower and its head, with weights of their own, not held in 4 bit."""
    tower = (f"{anatomy.family.decoder}.", anatomy.family.head)
    paths = [
        path
        for path, module in anatomy.model.named_modules()
        if path.startswith(tower)
        and (own := list(module.parameters(recurse=False)))
        and all(p.is_floating_point() for p in own)
    ]
    found: list[str] = []
    for name in wanted:
        fitting = [path for path in paths if named(path, name)]
        if not fitting:
            known = sorted({path.rpartition(".")[2] for path in paths})
            raise StudioError("module_unknown", module=name, known=known)
        found += [path for path in fitting if path not in found]
    return found


def _path(anatomy: Anatomy, module: nn.Module) -> str:
    found: str = next(path for path, other in anatomy.model.named_modules() if other is module)
    return found


def _token_ids(context: TunerContext, wanted: tuple[str, ...]) -> list[int]:
    """The numbers of the tokens whose vectors train, each given as text or as its number."""
    rows = cast(Tensor, context.anatomy.embeddings.weight).shape[0]
    ids: list[int] = []
    for text in wanted:
        number = int(text) if text.isdecimal() else context.token_id(text)
        if number is None or number >= rows:
            raise StudioError("token_unknown", token=text, tokens=rows)
        if number not in ids:
            ids.append(number)
    return ids


def _trainable(model: PeftModel, dropout: float, settings: Any) -> nn.Module:
    """Adapters in the dtype of the plan (32 bit unless it says otherwise, magnitudes always), and quick on a
    processor."""
    dtype = trained_dtype(settings)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_magnitude_vector" not in name:
            parameter.data = parameter.data.to(dtype)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            if dropout:
                module.lora_dropout[_ADAPTER] = Dropout(dropout)
            # Autocast brings inputs and adapters together; peft would first widen every input to 32 bit.
            module.cast_input_dtype_enabled = settings.precision != "mixed"
    return cast(nn.Module, model)
