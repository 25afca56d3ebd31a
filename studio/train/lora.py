"""LoRA through peft: adapters beside the linear layers, saved in peft's own format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from studio.errors import StudioError
from studio.methods.lora import LoraParams
from studio.models.anatomy import Anatomy
from studio.train.dropout import Dropout
from studio.train.tuner import Tuner, TunerContext, trained_dtype

_ADAPTER = "default"


class LoraTuner(Tuner):
    """A trained product of two thin matrices beside each target."""

    params: LoraParams

    def prepare(self, model: nn.Module, context: TunerContext) -> nn.Module:
        """Raises StudioError `target_unknown` if a target names no linear layer of the decoder."""
        config = LoraConfig(
            r=self.params.rank,
            lora_alpha=cast(int, self.params.alpha),  # peft divides by the rank; a fraction is fine
            lora_dropout=self.params.dropout,
            target_modules=_targets(context.anatomy, self.params.targets),
            fan_in_fan_out=any(isinstance(m, Conv1D) for _, m in context.anatomy.linears()),
            task_type="CAUSAL_LM",
        )
        # peft draws the first matrices from the global generator: give it the run's seed, and its state back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.generator.initial_seed())
            tuned = get_peft_model(cast(Any, model), config, adapter_name=_ADAPTER)
        return _trainable(tuned, self.params.dropout, context.plan.settings)

    def save(self, model: nn.Module, folder: Path) -> None:
        peft_model = cast(PeftModel, model)
        config = peft_model.peft_config[_ADAPTER]
        weights = get_peft_model_state_dict(peft_model, adapter_name=_ADAPTER, save_embedding_layers=False)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        # A path of this machine says nothing elsewhere: the base is named by its hash, in the manifest.
        config.base_model_name_or_path, inference = None, config.inference_mode
        config.inference_mode = True
        config.save_pretrained(str(folder))
        config.inference_mode = inference

    def load(self, model: nn.Module, folder: Path, context: TunerContext | None = None) -> nn.Module:
        tuned = PeftModel.from_pretrained(
            cast(Any, model), str(folder), adapter_name=_ADAPTER, is_trainable=context is not None
        )
        if context is None:
            return tuned.eval()
        return _trainable(tuned, self.params.dropout, context.plan.settings)

    def merge(self, model: nn.Module) -> nn.Module:
        return cast(nn.Module, cast(Any, model).merge_and_unload())

    def disabled(self, model: nn.Module) -> Any:
        return _switched_off(cast(PeftModel, model))


class QloraTuner(LoraTuner):
    """LoRA over a base in 4 bit."""

    def merge(self, model: nn.Module) -> nn.Module:
        """Into the very weights that the adapter was trained on, out of their 4 bits: exact."""
        peft_model = cast(Any, model)
        config = peft_model.peft_config[_ADAPTER]
        weights = get_peft_model_state_dict(peft_model, adapter_name=_ADAPTER, save_embedding_layers=False)
        tuned = get_peft_model(peft_model.unload().dequantize(), config, adapter_name=_ADAPTER)
        set_peft_model_state_dict(tuned, weights, adapter_name=_ADAPTER)
        return super().merge(tuned)


@contextmanager
def _switched_off(model: PeftModel) -> Iterator[None]:
    with model.disable_adapter():
        yield


def _targets(anatomy: Anatomy, wanted: tuple[str, ...]) -> list[str]:
    """Full paths of the linear layers to adapt: paths, because a tower beside the text may use the same
    names."""
    linears = [path for path, _ in anatomy.linears()]
    if wanted == ("auto",):
        return linears
    known = {path.rpartition(".")[2] for path in linears}
    for name in wanted:
        if name not in known:
            raise StudioError("target_unknown", target=name, known=sorted(known))
    return [path for path in linears if path.rpartition(".")[2] in wanted]


def _trainable(model: PeftModel, dropout: float, settings: Any) -> nn.Module:
    """Adapters in the dtype of the plan (32 bit unless it says otherwise), and quick on a processor."""
    dtype = trained_dtype(settings)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            if dropout:
                module.lora_dropout[_ADAPTER] = Dropout(dropout)
            # Autocast brings inputs and adapters together; peft would first widen every input to 32 bit.
            module.cast_input_dtype_enabled = settings.precision != "mixed"
    return cast(nn.Module, model)
