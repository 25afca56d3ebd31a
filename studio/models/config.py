"""What a model's config.json says of its sizes, read in plain Python.

Parameter counts are exact for the families in `studio.models.counts` and `studio.models.other_words`, and for
any other that transformers can build and that was surveyed. Else the count comes from the headers of the
safetensors files, if there are any.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.errors import Reason, StudioError
from studio.models.checked import SIZES, refuse_unreadable, whole_sizes
from studio.models.counts import COUNTED, NULLABLE, OWN, Counted
from studio.models.families import refusal
from studio.models.headers import count_in_headers, saved_format
from studio.models.other_words import ALIKE, in_known_words, type_by_architecture, words_of
from studio.models.pictures import beside, counted_towers, has_towers
from studio.models.survey_apart import Surveyor, Surveys
from studio.models.surveyed import Survey
from studio.models.weights import weights_of


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a decoder-only model (of the text tower, where there are several). Unknown is None.

    `context` is the longest sequence in tokens; `tied` says that the head shares the embedding's weight;
    `parameters` counts a shared weight once; `dtype` is the number format of the saved weights;
    `beside` are the weights of other towers that are loaded too, those of linear layers and the rest;
    `own` are the family's own values that decide how a layer is built (`studio.models.forms`), `survey` what
    was found of a family that is not known. `notes` say what an estimate by these sizes does not.
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
    notes: tuple[Reason, ...] = field(default=(), hash=False)

    @property
    def itemsize(self) -> int:
        """Bytes per saved weight; 16 bit where the config does not say."""
        return 4 if self.dtype in ("float32", "float64") else 2


_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def read_config(where: Path, surveys: Surveyor | None = None) -> ModelFacts:
    """The facts of a model folder, or of a config.json itself; of a family that is not known by its survey,
    if `surveys` are given, which for a new model takes seconds. Where layers compute in a way that no survey
    knows, those of a folder that can be tuned are guessed, as `notes` say.

    Raises StudioError `model_config_missing`, `model_config_broken` (not JSON, or not an object),
    `model_config_incomplete` (an unknown family that leaves out a size; the facts name it),
    `model_config_size`, `model_quantised`, `model_not_causal`, and those of a survey.
    """
    file = where / "config.json" if where.is_dir() else where
    config = load_config(file)
    if not _model_type(config):
        raise StudioError("model_config_broken", path=str(file), detail="it names no model_type")
    found = _surveyed(config, str(file), surveys, guess=where.is_dir() and _may_be_guessed(config))
    facts = found or facts_of(config, str(file), _towers(config, surveys))
    if not where.is_dir():
        return facts
    if facts.dtype is None:
        facts = dataclasses.replace(facts, dtype=saved_format(where))
    return facts if facts.parameters is not None else _by_headers(facts, where)


def _surveyed(
    config: Mapping[str, Any], where: str, surveys: Surveyor | None, guess: bool
) -> ModelFacts | None:
    """By a survey; None where none is needed, or transformers has no such model, or it may be guessed how its
    layers compute."""
    refuse_unreadable(config, where)
    if surveys is None or not to_survey(config):
        return None
    text = whole_sizes(text_config(config), where, listed=True)
    try:
        return surveyed_facts(config, surveys.of(text), _towers(config, surveys))
    except StudioError as error:
        if error.code != "architecture_unknown" and not (guess and error.code == "model_layers_unknown"):
            raise
    return None


def _may_be_guessed(config: Mapping[str, Any]) -> bool:
    """Whether a model that no survey knows can be tuned all the same, and says its sizes as most do."""
    text = text_config(config)
    return refusal(config) is None and all(isinstance(text.get(key), int) for key in _NEEDED)


def _towers(config: Mapping[str, Any], surveys: Surveyor | None) -> tuple[int, int] | None:
    """Weights beside the text tower, as `ModelFacts.beside` has them; None where they can't be known."""
    if not has_towers(config) or counted_towers(config):
        return None
    return surveys.towers(config) if surveys else None


def _by_headers(facts: ModelFacts, folder: Path) -> ModelFacts:
    """With the number of weights that a folder's files say; how a layer computes is guessed then."""
    if (parameters := count_in_headers(folder)) is None:
        return facts
    guessed = Reason("layers_guessed", {"type": facts.model_type})
    return dataclasses.replace(facts, parameters=parameters, notes=(guessed, *facts.notes))


def counts_first(config: Mapping[str, Any], surveys: Surveys) -> bool:
    """Whether `read_config` takes seconds now, but not again."""
    if to_survey(config) and not surveys.known(text_config(config)):
        return True
    return has_towers(config) and not counted_towers(config) and not surveys.known(config, towers=True)


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


def facts_of(
    config: Mapping[str, Any], where: str = "config.json", towers: tuple[int, int] | None = None
) -> ModelFacts:
    """The facts of a parsed config.json; `where` names it in errors, `towers` are what was counted beside the
    text tower of a family whose towers are not known."""
    refuse_unreadable(config, where)
    model_type, text = _in_known_words(config, where)
    family = COUNTED.get(model_type)
    values = _values(text, family, where)
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
        beside=towers or beside(config, hidden, where),
        own={key: values[key] for key in sorted(OWN & set(values))},
        notes=_notes(config, towers),
    )
    return _with_parameters(facts, weights_of(facts).parameters) if family else facts


def _in_known_words(
    config: Mapping[str, Any], where: str, listed: bool = False
) -> tuple[str, Mapping[str, Any]]:
    """The type of a config's text tower and what says its sizes, as whole numbers, in a known family's words
    where there is one that has the same matrices."""
    model_type, text = _model_type(config), whole_sizes(text_config(config), where, listed)
    words = words_of(model_type, text)
    return (words.known, in_known_words(words, text)) if words else (model_type, text)


def _notes(config: Mapping[str, Any], towers: tuple[int, int] | None) -> tuple[Reason, ...]:
    """What an estimate by this config does not say by itself."""
    model_type = str(config.get("model_type") or _model_type(config))
    notes: list[Reason] = []
    if (words := words_of(_model_type(config), text_config(config))) and words.own:
        notes.append(Reason("layers_alike", {"type": model_type, "like": words.known}))
    if towers is None and has_towers(config) and not counted_towers(config):
        notes.append(Reason("towers_not_counted", {"type": model_type}))
    if refusal({**config, "model_type": model_type}):
        notes.append(Reason("estimated_only", {"type": model_type}))
    return tuple(notes)


def to_survey(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a family whose sizes are not known from it alone."""
    model_type = _model_type(config)
    words = words_of(model_type, text_config(config))
    return (words.known if words else model_type) not in COUNTED


def to_trace(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json as transformers reads it: with a type, whole sizes, and in the words of a family that has
    the same matrices.

    Raises StudioError `towers_not_traced` for what sees or hears in a way that is not known here.
    """
    refuse_unreadable(config, "config.json")
    if has_towers(config) and not counted_towers(config):
        raise StudioError("towers_not_traced", type=_model_type(config))
    model_type, text = _in_known_words(config, "config.json", listed=True)
    body = dict(config) if counted_towers(config) else {**text, "model_type": model_type}
    body.pop("auto_map", None)
    return body


def _model_type(config: Mapping[str, Any]) -> str:
    said = text_config(config).get("model_type") or config.get("model_type")
    return str(said or type_by_architecture(config) or "")


def surveyed_facts(
    config: Mapping[str, Any], found: Survey, towers: tuple[int, int] | None = None
) -> ModelFacts:
    """The facts of a config.json whose model was surveyed; `towers` as for `facts_of`."""
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
        beside=towers or (0, 0),
        own=own,
        survey=found,
        notes=_notes(config, towers),
    )


def _architecture(config: Mapping[str, Any]) -> str | None:
    names: list[str] = config.get("architectures") or []
    return names[0] if names else None


def _dtype(config: Mapping[str, Any]) -> str | None:
    """Of the saved weights; a multimodal config may say it on either side."""
    parts, names = (config, text_config(config)), ("dtype", "torch_dtype")
    return next((part[name] for part in parts for name in names if part.get(name)), None)


def _values(text: Mapping[str, Any], family: Counted | None, where: str) -> dict[str, Any]:
    """The sizes under their usual names, with the family's defaults for what is left out; what only has a
    known family's matrices has other defaults, or none.

    Raises StudioError `model_config_incomplete`; `model_config_size` where there are more heads than width.
    """
    given = {k: v for k, v in text.items() if v is not None or k in NULLABLE}
    if family is not None:
        other = ALIKE in given
        defaults = {k: v for k, v in family.defaults.items() if not (other and k in SIZES)}
        given = defaults | {family.names.get(k, k): v for k, v in given.items()}
    needed = (*_NEEDED, "intermediate_size") if ALIKE in given else _NEEDED
    if missing := [key for key in needed if not isinstance(given.get(key), int)]:
        kind = given.get(ALIKE, text.get("model_type"))
        raise StudioError("model_config_incomplete", path=where, missing=missing, model_type=kind)
    if given["hidden_size"] < given["num_attention_heads"]:
        said = given["num_attention_heads"]
        raise StudioError("model_config_size", path=where, field="num_attention_heads", value=said, least=1)
    return given


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the text tower: the whole, unless it is a multimodal model's."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _tied(config: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    # A multimodal config may say it on the outside only.
    return bool(config.get("tie_word_embeddings", values.get("tie_word_embeddings", True)))


def _with_parameters(facts: ModelFacts, parameters: int | None) -> ModelFacts:
    return dataclasses.replace(facts, parameters=parameters)
