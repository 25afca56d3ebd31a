"""What a model of a family that is not known is made of: transformers builds it on torch's meta device,
without weights and without code from elsewhere, and its parts are measured.

Layers of several kinds are taken for the commonest of them; the number of parameters is exact.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers import __version__ as version
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils.logging import set_verbosity_error

from studio.errors import StudioError
from studio.identity import normalised_config
from studio.models.anatomy import Anatomy, context_of
from studio.models.families import FAMILIES, Family
from studio.models.layer_form import LayerParts, form_of_layer, number
from studio.models.surveyed import Linear, Shape, Survey, SurveyedSizes


def survey(config: Mapping[str, Any]) -> Survey:
    """The parts of the causal language model of a config.json.

    Raises StudioError `architecture_unknown` where transformers has no such model, `model_not_built` where it
    can't make one of this config, and `model_layers_unknown` where it is no row of decoder layers, half of
    them alike, of attention with queries, keys and values, and of an MLP or experts.
    """
    model = _built(config, AutoModelForCausalLM)
    try:
        return _taken_apart(model)
    except StudioError as error:
        if error.code != "architecture_unknown":
            raise
        count = sum(p.numel() for p in model.parameters())
        raise StudioError("model_layers_unknown", type=config["model_type"], parameters=count) from None


def towers(config: Mapping[str, Any]) -> tuple[int, int]:
    """How many numbers a model that sees holds beside its text tower: in the matrices of linear layers, and
    in all the rest. Raises StudioError as `survey`."""
    model: Any = _built(config, AutoModelForImageTextToText)
    parts = (model.get_decoder(), model.get_output_embeddings())
    text = {id(p) for part in parts for p in part.parameters()}
    sizes = {id(p): p.numel() for p in model.parameters() if id(p) not in text}
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear) and id(m.weight) in sizes]
    matrices = sum(weight.numel() for weight in linear)
    return matrices, sum(sizes.values()) - matrices


class SurveysHere:
    """Surveys made in this process, for one that trains or answers and has torch anyway."""

    def of(self, config: Mapping[str, Any]) -> Survey:
        """See `studio.models.survey_apart.Surveyor`."""
        return survey(normalised_config(config))

    def towers(self, config: Mapping[str, Any]) -> tuple[int, int] | None:
        """See `studio.models.survey_apart.Surveyor`."""
        try:
            return towers(normalised_config(config))
        except StudioError:
            return None


def family_of(config: Mapping[str, Any]) -> Family:
    """Where the model of a config.json keeps its parts: known, or found as for its survey.

    Raises StudioError `architecture_unknown` and `model_not_built`.
    """
    known = FAMILIES.get(str(config.get("model_type")))
    return known or found_family(_built(normalised_config(config), AutoModelForCausalLM))


def _built(config: Mapping[str, Any], auto: Any) -> nn.Module:
    model_type = str(config.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise _unknown(model_type)
    try:
        built = AutoConfig.for_model(**config)
        if type(built) not in auto._model_mapping:
            raise _unknown(model_type)
        with torch.device("meta"):
            model: nn.Module = auto.from_config(built, dtype=torch.bfloat16, trust_remote_code=False)
    except StudioError:
        raise
    except Exception as fault:  # noqa: BLE001  # a family's code may make anything of what it does not expect
        detail = (str(fault).strip().splitlines() or [""])[0]
        raise StudioError("model_not_built", type=model_type, detail=detail, version=version) from None
    return model


def _taken_apart(model: nn.Module) -> Survey:
    """Raises StudioError `architecture_unknown`."""
    model_type = str(cast(Any, model).config.model_type)
    anatomy = Anatomy(model, found_family(model))
    kinds = [tuple(tuple(p.shape) for p in layer.parameters()) for layer in anatomy.layers]
    kind, count = Counter(kinds).most_common(1)[0]
    layer = anatomy.layers[kinds.index(kind)]
    parts = LayerParts.of(layer, anatomy.config.hidden_size)
    if parts is None or 2 * count < len(kinds):
        raise _unknown(model_type)
    if parts.experts and not hasattr(anatomy.config, "num_experts_per_tok"):
        raise _unknown(model_type)
    sizes = _sizes(anatomy, parts)
    held = {id(module.weight) for module in (anatomy.embeddings, anatomy.head)}
    inside = {id(p) for p in anatomy.layers.parameters()}
    return Survey(
        sizes,
        form_of_layer(anatomy, parts, sizes),
        tuple(Linear(path.rpartition(".")[2], role, *size) for role, (path, size) in parts.linears.items()),
        tuple(_shapes(layer, {id(module.weight) for module in parts.modules})),
        (_shape(anatomy.embeddings),),
        () if sizes.tied else (_shape(anatomy.head), *_bias(anatomy.head)),
        tuple(_shapes(model, held | inside | {id(p) for p in anatomy.head.parameters()})),
    )


def found_family(model: nn.Module) -> Family:
    """Where a model keeps its parts, by what they are: the layers are the first list of as many modules as
    the configuration has layers, the last norm the last one beside them.

    Raises StudioError `architecture_unknown` where one of them is missing.
    """
    language: Any = model
    config = language.config.get_text_config()
    depth = config.num_hidden_layers
    lists = (p for p, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth)
    paths = {id(module): path for path, module in model.named_modules()}
    embeddings = paths.get(id(language.get_input_embeddings()), "")
    head = paths.get(id(language.get_output_embeddings()), "")
    where, _, layers = next(lists, "").rpartition(".")
    beside = model.get_submodule(where).named_children() if where else ()
    norms = [name for name, module in beside if "Norm" in type(module).__name__]
    inside = embeddings.startswith(f"{where}.")
    if not (where and inside and head and norms):
        raise _unknown(config.model_type)
    return Family(where, embeddings.removeprefix(f"{where}."), layers, norms[-1], head)


def _unknown(model_type: str) -> StudioError:
    return StudioError("architecture_unknown", architecture=model_type, known=sorted(FAMILIES))


def _sizes(anatomy: Anatomy, parts: LayerParts) -> SurveyedSizes:
    config, heads = anatomy.config, anatomy.config.num_attention_heads
    roles = {role: size for role, (_, size) in parts.linears.items()}
    head_dim = roles["o_proj"][0] // heads
    keyed = (roles["qkv"][1] - roles["o_proj"][0]) // 2 if "qkv" in roles else roles["k_proj"][1]
    inner = parts.expert_width or roles["down_proj"][0]
    return SurveyedSizes(
        hidden=config.hidden_size,
        layers=len(anatomy.layers),
        heads=heads,
        kv_heads=keyed // head_dim,
        head_dim=head_dim,
        intermediate=inner,
        vocab=_shape(anatomy.embeddings)[0],
        context=context_of(config),
        tied=anatomy.head.weight is anatomy.embeddings.weight,
        parameters=sum(p.numel() for p in anatomy.model.parameters()),
        experts=(parts.experts, config.num_experts_per_tok) if parts.experts else None,
        embeddings_dropped=number(config, "embd_pdrop", "embedding_dropout"),
    )


def _shape(module: nn.Module) -> Shape:
    return tuple(cast(Any, module).weight.shape)


def _bias(module: nn.Module) -> tuple[Shape, ...]:
    bias = getattr(module, "bias", None)
    return () if bias is None else (tuple(bias.shape),)


def _shapes(module: nn.Module, without: set[int]) -> Iterator[Shape]:
    for parameter in module.parameters():
        if id(parameter) not in without:
            yield tuple(parameter.shape)


def main() -> None:
    """The process of `studio.models.survey_apart`."""
    set_verbosity_error()  # type: ignore[no-untyped-call]
    answer: dict[str, Any]
    try:
        config = json.load(sys.stdin)
        answer = {"towers": towers(config)} if "towers" in sys.argv[1:] else survey(config).as_dict()
    except StudioError as error:
        answer = {"error": error.as_dict()}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
