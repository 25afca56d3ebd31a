"""What a model's config.json says of its sizes, read in plain Python.

Parameter counts are exact for the families in `studio.models.counts`. For any other family the count comes
from the headers of its safetensors files, if it has any.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.models.counts import COUNTED, NULLABLE, OWN, Counted
from studio.models.pictures import beside
from studio.models.weights import weights_of


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a decoder-only model (of the text tower, where there are several). Unknown is None.

    `context` is the longest sequence in tokens; `tied` says that the head shares the embedding's weight;
    `parameters` counts a shared weight once; `dtype` is the number format of the saved weights;
    `beside` are the weights of other towers that are loaded too, those of linear layers and the rest;
    `own` are the family's own values that decide how a layer is built (`studio.models.forms`).
    """

    model_type: str
    architecture: str | None
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    context: int | None
    tied: bool
    parameters: int | None
    dtype: str | None
    beside: tuple[int, int] = (0, 0)
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def itemsize(self) -> int:
        """Bytes per saved weight; 16 bit where the config does not say."""
        return 4 if self.dtype in ("float32", "float64") else 2


_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def read_config(where: Path) -> ModelFacts:
    """The facts of a model folder, or of a config.json itself.

    Raises StudioError `model_config_missing`, `model_config_broken` (not JSON, or not an object) or
    `model_config_incomplete` (an unknown family that leaves out a size; the facts name it).
    """
    file = where / "config.json" if where.is_dir() else where
    config = load_config(file)
    facts = facts_of(config, str(file))
    if facts.parameters is None and "quantization_config" not in config and where.is_dir():
        counted = _count_in_headers(where)
        return _with_parameters(facts, counted)
    return facts


def load_config(file: Path) -> dict[str, Any]:
    """The JSON object in a config.json; errors as for `read_config`."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudioError("model_config_missing", path=str(file)) from None
    except (ValueError, OSError) as error:
        raise StudioError("model_config_broken", path=str(file), detail=str(error)) from None
    if not isinstance(body, dict):
        raise StudioError("model_config_broken", path=str(file), detail=f"holds a {type(body).__name__}")
    return body


def facts_of(config: Mapping[str, Any], where: str = "config.json") -> ModelFacts:
    """The facts of a parsed config.json; `where` names it in errors."""
    text = text_config(config)
    model_type = str(text.get("model_type", config.get("model_type", "")))
    family = COUNTED.get(model_type)
    values = _values(text, family)
    missing = [key for key in _NEEDED if not isinstance(values.get(key), int)]
    if missing:
        raise StudioError("model_config_incomplete", path=where, missing=missing, model_type=model_type)
    hidden, heads = values["hidden_size"], values["num_attention_heads"]
    architectures = config.get("architectures") or [None]
    facts = ModelFacts(
        model_type=model_type,
        architecture=architectures[0],
        hidden=hidden,
        layers=values["num_hidden_layers"],
        heads=heads,
        kv_heads=(family.kv_heads(values) if family else values.get("num_key_value_heads")) or heads,
        head_dim=values.get("head_dim") or hidden // heads,
        intermediate=values.get("intermediate_size") or 4 * hidden,
        vocab=values["vocab_size"],
        context=values.get("max_position_embeddings"),
        tied=_tied(config, values),
        parameters=None,
        dtype=next(
            (part[k] for part in (config, text) for k in ("dtype", "torch_dtype") if part.get(k)), None
        ),
        beside=beside(config, hidden),
        own={key: values[key] for key in sorted(OWN & set(values))},
    )
    return _with_parameters(facts, weights_of(facts).parameters) if family else facts


def _values(text: Mapping[str, Any], family: Counted | None) -> dict[str, Any]:
    """The sizes under their usual names, with the family's defaults for what is left out."""
    given = {k: v for k, v in text.items() if v is not None or k in NULLABLE}
    if family is None:
        return given
    return dict(family.defaults) | {family.names.get(k, k): v for k, v in given.items()}


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the text tower: the whole, unless it is a multimodal model's."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _tied(config: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    # A multimodal config may say it on the outside only.
    return bool(config.get("tie_word_embeddings", values.get("tie_word_embeddings", True)))


def _with_parameters(facts: ModelFacts, parameters: int | None) -> ModelFacts:
    return dataclasses.replace(facts, parameters=parameters)


def _count_in_headers(folder: Path) -> int | None:
    """Numbers in a folder's safetensors files, from their headers alone; None if there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    return sum(prod(shape) for file in files for shape in read_shapes(file).values())


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file by name.

    The file starts with the header's length (8 bytes, little endian) and the header, a JSON object
    (https://github.com/huggingface/safetensors#format). Raises StudioError `weights_unreadable`.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= 100_000_000:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StudioError("weights_unreadable", path=str(file), detail=str(error)) from None
