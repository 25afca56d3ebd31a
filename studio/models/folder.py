"""What a folder must hold to be a model, and what it is when it is none, so that the person can mend it.

Works on names alone where it can: the same judgement serves a folder on disk and a listing of the hub.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.models.checked import refuse_unloadable
from studio.models.config import load_config
from studio.models.families import FAMILIES, language_models, require_decoder
from studio.models.headers import weight_files
from studio.models.other_words import type_by_architecture
from studio.models.pictures import has_towers

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_DATA = (".jsonl", ".csv", ".tsv", ".parquet", ".arrow")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_TOKENIZER_PARTS = ("merges.txt", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")
_INDEX = "model.safetensors.index.json"


def check_model_folder(folder: Path) -> None:
    """Raise the StudioError that says why this folder is no model that can be tuned.

    Codes: `model_missing`, `model_config_only` (a config.json in place of its folder),
    `model_folder_unreadable`, those of `name_the_foreign`, `model_config_broken`, those of `check_causal`,
    `model_weights_missing`, `model_weights_incomplete`, `model_weights_pickle`, `model_tokenizer_missing`.
    """
    if not folder.exists():
        raise StudioError("model_missing", path=str(folder))
    if not folder.is_dir():
        if folder.name == "config.json":
            raise StudioError("model_config_only", path=str(folder))
        raise name_the_foreign([folder.name], str(folder))
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise StudioError("model_folder_unreadable", path=str(folder), detail=error.strerror) from None
    if "config.json" not in names:
        raise _foreign_folder(folder, names)
    config = load_config(folder / "config.json")
    check_causal(config, str(folder))
    check_weights(names, str(folder), shards=_shards(folder))
    if not any(name in names for name in _TOKENIZERS):
        raise StudioError("model_tokenizer_missing", path=str(folder), wanted=list(_TOKENIZERS[:2]))


def check_causal(config: Mapping[str, Any], where: str) -> None:
    """Raise `model_not_causal` unless the model writes text from left to right, `model_remote_code` if it
    needs Python files of its own, that of `families.refusal` if it is of a kind that can't be tuned here; and
    as `studio.models.checked` where its sizes are none, or its weights were rounded already."""
    refuse_unloadable(config, where)
    if config.get("auto_map") and config.get("model_type") not in FAMILIES.keys() | language_models():
        files = sorted({str(v).partition("--")[2] or str(v) for v in config["auto_map"].values()})
        raise StudioError("model_remote_code", path=where, files=files)
    names = config.get("architectures") or []
    multimodal = "text_config" in config or has_towers(config)
    causal = [
        n
        for n in names
        if n.endswith(("ForCausalLM", "LMHeadModel"))
        or (multimodal and n.endswith("ForConditionalGeneration"))
    ]
    if config.get("is_encoder_decoder") or (names and not causal):
        kind = names[0] if names else str(config.get("model_type"))
        raise StudioError("model_not_causal", path=where, architecture=kind)
    if not config.get("model_type") and (meant := type_by_architecture(config)):
        raise StudioError("model_type_missing", path=where, meant=meant)
    require_decoder(config)


def check_weights(names: Collection[str], where: str, shards: Collection[str] = ()) -> None:
    """Raise `model_weights_incomplete`, `model_weights_pickle` or `model_weights_missing` unless `names` has
    safetensors weights and every one of `shards`."""
    missing = sorted(set(shards) - set(names))
    if missing:
        raise StudioError("model_weights_incomplete", path=where, missing=missing[:3], count=len(missing))
    if weight_files(names):
        return
    pickles = sorted(n for n in names if n.endswith(_PICKLES) and n != "training_args.bin")
    if pickles:
        raise StudioError("model_weights_pickle", path=where, files=pickles[:3])
    raise StudioError("model_weights_missing", path=where)


def needed_files(names: Collection[str]) -> list[str]:
    """Of a repository's top-level files those that loading needs: weights, configuration, tokenizer."""
    top = [n for n in names if "/" not in n]
    small = (n for n in top if n.endswith((".json", ".jinja")) or n in _TOKENIZERS + _TOKENIZER_PARTS)
    return sorted({*weight_files(top), *small})


def name_the_foreign(names: Collection[str], where: str) -> StudioError:
    """The error for something without a config.json, by the names of its files.

    Codes: `model_gguf`, `model_adapter_without_base` (names alone don't tell it), `model_diffusion`,
    `model_dataset`, `model_weights_pickle`, `model_file` (a weights file given in place of its folder),
    `model_folder_empty`, `model_foreign`.
    """
    if not names:
        return StudioError("model_folder_empty", path=where)
    if any(n.endswith(".gguf") for n in names):
        return StudioError("model_gguf", path=where, file=next(n for n in names if n.endswith(".gguf")))
    if "adapter_config.json" in names:
        return StudioError("model_adapter_without_base", path=where)
    if "model_index.json" in names:
        return StudioError("model_diffusion", path=where)
    if any(n.endswith(".safetensors") for n in names):
        return StudioError("model_file", path=where)
    if any(n.endswith(_DATA) for n in names):
        return StudioError("model_dataset", path=where, file=next(n for n in names if n.endswith(_DATA)))
    if any(n.endswith(_PICKLES) for n in names):
        return StudioError(
            "model_weights_pickle", path=where, files=[n for n in names if n.endswith(_PICKLES)][:3]
        )
    return StudioError("model_foreign", path=where, seen=sorted(names)[:5])


def _foreign_folder(folder: Path, names: list[str]) -> StudioError:
    """As `name_the_foreign`, with what only the disk tells: an adapter's base, models one level below."""
    if "adapter_config.json" in names:
        base = load_config(folder / "adapter_config.json").get("base_model_name_or_path")
        if base:
            return StudioError("model_adapter", path=str(folder), base=base)
    inside = [name for name in names if (folder / name / "config.json").is_file()]
    if inside:
        return StudioError("model_inside", path=str(folder), folders=inside[:5])
    return name_the_foreign(names, str(folder))


def _shards(folder: Path) -> set[str]:
    """Files that the weights' index names; empty without an index."""
    file = folder / _INDEX
    if not file.is_file():
        return set()
    try:
        return set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudioError("weights_unreadable", path=str(file), detail=str(error)) from None
