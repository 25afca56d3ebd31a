"""Loading the weights of a model folder: safetensors only, no code from the folder, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils.logging import disable_progress_bar

from studio.errors import StudioError
from studio.models.checked import refuse_unloadable
from studio.models.families import require_decoder
from studio.models.quantisation import Quantisation

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# None: torch's fused kernel where the family has it, else the plain one (Gemma 2 caps attention scores).
_ATTENTION = {"sdpa": None, "flash": "flash_attention_2", "eager": "eager"}


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: str,
    attention: str = "sdpa",
    quantisation: Quantisation | None = None,
) -> nn.Module:
    """The causal language model of `folder`, in evaluation mode, all weights frozen.

    `dtype` is that of the weights; with `quantisation` that of the arithmetic and of what is not quantised
    (embeddings, norms, head).

    Raises StudioError `model_foreign` (no config.json), `architecture_unknown`,
    `architecture_without_attention`, `model_pickles_refused`, `model_weights_missing`, `model_unreadable`,
    `model_quantised`, `model_config_size`.
    """
    _check_folder(folder)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # the log is read by people
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True),
            dtype=dtype,
            attn_implementation=_ATTENTION[attention],
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            **(_in_4_bit(quantisation, dtype, device) if quantisation else {}),
        )
    except (OSError, ValueError, ImportError, SafetensorError) as broken:
        raise StudioError("model_unreadable", path=str(folder), detail=_first_line(broken)) from broken
    if quantisation is None:
        model = model.to(device)
    else:
        _quantise_rest(model, quantisation, dtype)
        keep_trainable(model)
    return cast(nn.Module, model.eval().requires_grad_(False))


def _in_4_bit(quantisation: Quantisation, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """transformers' arguments for a base in 4 bit."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantisation.kind,
        bnb_4bit_use_double_quant=quantisation.double,
        bnb_4bit_compute_dtype=dtype,
    )  # type: ignore[no-untyped-call]
    return {"quantization_config": config, "device_map": {"": device}}


def _quantise_rest(model: nn.Module, quantisation: Quantisation, dtype: torch.dtype) -> None:
    """transformers (5.23) passes over linear layers of a class of their own, as Falcon's all are."""
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    for path, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or type(module) in (nn.Linear, Linear4bit):
            continue
        layer = Linear4bit(  # type: ignore[no-untyped-call]
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=dtype,
            compress_statistics=quantisation.double,
            quant_type=quantisation.kind,
            device="meta",
        )
        layer.bias = module.bias
        weight: Any = Params4bit(
            module.weight.detach(),
            requires_grad=False,
            compress_statistics=quantisation.double,
            quant_type=quantisation.kind,
            module=layer,
        )
        layer.weight = weight.to(module.weight.device)  # which is where it is rounded
        model.set_submodule(path, layer)


def keep_trainable(model: nn.Module) -> None:
    """On a processor with AVX512-BF16, bitsandbytes packs 4-bit weights for inference in the first forward
    pass without gradients, for good, and the packed form passes no gradient on: one evaluation and training
    goes on without learning (0.50.2). Told that the processor can't, it leaves them alone."""
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def weights_dtype(precision: str, trained: bool) -> torch.dtype:
    """The dtype in which a run holds the base: 32 bit where `mixed` trains its weights, so that a step
    smaller than their 16-bit spacing is not lost."""
    return torch.float32 if precision == "fp32" or (precision == "mixed" and trained) else torch.bfloat16


def _check_folder(folder: Path) -> None:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise StudioError("model_foreign", path=str(folder))
    try:
        config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as broken:
        raise StudioError("model_unreadable", path=str(folder), detail=_first_line(broken)) from broken
    require_decoder(config)
    refuse_unloadable(config, str(folder))
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(f.name for pattern in _PICKLES for f in folder.glob(pattern))
    if pickles:
        raise StudioError("model_pickles_refused", path=str(folder), files=pickles)
    raise StudioError("model_weights_missing", path=str(folder))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
