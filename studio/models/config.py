"""What a model's config.json says of its sizes, read in plain Python.

Parameter counts are exact for the families in `studio.models.counts`, and for any other that transformers can
build and that was surveyed. Else the count comes from the headers of the safetensors files, if there are any.
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
from studio.models.survey_apart import Surveys
from studio.models.surveyed import Survey
from studio.models.weights import weights_of


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a decoder-only model (of the text tower, where there are several). Unknown is None.

    `context` is the longest sequence in tokens; `tied` says that the head shares the embedding's weight;
    `parameters` counts a shared weight once; `dtype` is the number format of the saved weights;
    `beside` are the weights of other towers that are loaded too, those of linear layers and the rest;
    `own` are the family's own values that decide how a layer is built (`studio.models.forms`), `survey` what
    was found of a family that is not known.
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
    survey: Survey | None = None

    @property
    def itemsize(self) -> int:
        """Bytes per saved weight; 16 bit where the config does not say."""
        return 4 if self.dtype in ("float32", "float64") else 2


_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def read_config(where: Path, surveys: Surveys | None = None) -> ModelFacts:
    """The facts of a model folder, or of a config.json itself; of a family that is not known by its survey,
    if `surveys` are given, which for a new model takes seconds.

    Raises StudioError `model_config_missing`, `model_config_broken` (not JSON, or not an object),
    `model_config_incomplete` (an unknown family that leaves out a size; the facts name it) or
    `survey_failed`.
    """
    file = where / "config.json" if where.is_dir() else where
    config = load_config(file)
    if not _model_type(config):
        raise StudioError("model_config_broken", path=str(file), detail="it names no model_type")
    if surveys is not None and to_survey(config):
        try:
            return surveyed_facts(config, surveys.of(text_config(config)))
        except StudioError as error:
            if error.code != "architecture_unknown":
                raise
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
    model_type = _model_type(config)
    family = COUNTED.get(model_type)
    values = _values(text, family)
    missing = [key for key in _NEEDED if not isinstance(values.get(key), int)]
    if missing:
        raise StudioError("model_config_incomplete", path=where, missing=missing, model_type=model_type)
    hidden, heads = values["hidden_size"], values["num_attention_heads"]
    facts = ModelFacts(
        model_type=model_type,
        architecture=_architecture(config),
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
        dtype=_dtype(config),
        beside=beside(config, hidden),
        own={key: values[key] for key in sorted(OWN & set(values))},
    )
    return _with_parameters(facts, weights_of(facts).parameters) if family else facts


def to_survey(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a family whose sizes are not known from it alone."""
    return _model_type(config) not in COUNTED


def _model_type(config: Mapping[str, Any]) -> str:
    return str(text_config(config).get("model_type", config.get("model_type", "")))


def surveyed_facts(config: Mapping[str, Any], found: Survey) -> ModelFacts:
    """The facts of a config.json whose model was surveyed."""
    sizes = found.sizes
    own: dict[str, Any] = {"embd_pdrop": sizes.embeddings_dropped} if sizes.embeddings_dropped else {}
    if sizes.experts:
        own |= dict(zip(("num_local_experts", "num_experts_per_tok"), sizes.experts, strict=True))
    return ModelFacts(
        model_type=_model_type(config),
        architecture=_architecture(config),
        hidden=sizes.hidden,
        layers=sizes.layers,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        intermediate=sizes.intermediate,
        vocab=sizes.vocab,
        context=sizes.context,
        tied=sizes.tied,
        parameters=sizes.parameters,
        dtype=_dtype(config),
        own=own,
        survey=found,
    )


def _architecture(config: Mapping[str, Any]) -> str | None:
    names: list[str] = config.get("architectures") or []
    return names[0] if names else None


def _dtype(config: Mapping[str, Any]) -> str | None:
    """Of the saved weights; a multimodal config may say it on either side."""
    parts, names = (config, text_config(config)), ("dtype", "torch_dtype")
    return next((part[name] for part in parts for name in names if part.get(name)), None)


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
