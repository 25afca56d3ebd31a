"""What a survey found of a model of a family that is not known: plain data, so that whoever reads it needs no
torch (`studio.models.survey` makes it, `studio.models.survey_apart` keeps it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from studio.models.forms import Form

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Linear:
    """A linear layer of a decoder layer. `role`: as `studio.models.forms` calls it, or its own path where it
    is none of the usual ones."""

    name: str
    role: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class SurveyedSizes:
    """As `studio.models.config.ModelFacts`; `experts` are those of a layer and how many a token takes, and
    `embeddings_dropped` the share of dropout after the embeddings."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    context: int | None
    tied: bool
    parameters: int
    experts: tuple[int, int] | None
    embeddings_dropped: float


@dataclass(frozen=True)
class Survey:
    """A model as it is built: its sizes, how a decoder layer computes, and the shapes of its weights.

    `linears` and `rest` (norms, experts: what is no linear layer) are those of the commonest kind of decoder
    layer; `around` stands outside of the layers, beside the token table and the head.
    """

    sizes: SurveyedSizes
    form: Form
    linears: tuple[Linear, ...]
    rest: tuple[Shape, ...]
    embeddings: tuple[Shape, ...]
    head: tuple[Shape, ...]
    around: tuple[Shape, ...]

    @property
    def gate(self) -> str | None:
        """The role of the linear layer that makes one number of each token, as beside an expert that all
        share; None without such."""
        return next((linear.role for linear in self.linears if linear.outputs == 1), None)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        body = asdict(self)
        body["form"]["biased"] = sorted(self.form.biased)
        return body

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Survey:
        """Inverse of `as_dict`."""
        sizes, form = body["sizes"], body["form"]
        experts = sizes["experts"]
        return cls(
            SurveyedSizes(**{**sizes, "experts": tuple(experts) if experts else None}),
            Form(**{**form, "biased": frozenset(form["biased"]), "head_norms": tuple(form["head_norms"])}),
            tuple(Linear(**linear) for linear in body["linears"]),
            *(
                tuple(tuple(shape) for shape in body[name])
                for name in ("rest", "embeddings", "head", "around")
            ),
        )
