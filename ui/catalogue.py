"""Which of the models that the studio proposes a person means by a few words."""

from __future__ import annotations

from collections.abc import Sequence

from backend.api import ModelInfo


def search(models: Sequence[ModelInfo], query: str) -> list[ModelInfo]:
    """Those in which every word of the query stands: in name, title, summary, licence or architecture."""
    words = query.lower().split()
    return [model for model in models if all(word in _about(model) for word in words)]


def _about(model: ModelInfo) -> str:
    about = (model.name, model.title, model.summary, model.licence, model.architecture)
    return " ".join(part for part in about if part).lower()
