"""The weights of a multimodal model beside its text tower: loaded with it, never trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studio.models.checked import whole_sizes

Values = Mapping[str, Any]

# transformers' own, for what a config.json leaves out.
_SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "vision_use_head": True,
}


def has_towers(config: Values) -> bool:
    """Whether a model sees or hears, beside reading."""
    return any(isinstance(config.get(f"{sense}_config"), Mapping) for sense in ("vision", "audio"))


def counted_towers(config: Values) -> bool:
    """Whether what a model sees with is counted by its config.json alone."""
    return config.get("model_type") == "gemma3"


def beside(config: Values, text_hidden: int, where: str = "config.json") -> tuple[int, int]:
    """How many numbers the matrices of linear layers hold, and all the rest. Known for Gemma 3, which looks
    at pictures through SigLIP; (0, 0) for others, whose towers a survey counts."""
    vision = config.get("vision_config")
    if not counted_towers(config) or not isinstance(vision, Mapping):
        return 0, 0
    given = whole_sizes(vision, f"{where} (vision_config)")
    c = _SIGLIP | {key: value for key, value in given.items() if value is not None}
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    mlp, mlp_biases = 2 * hidden * inner, inner + hidden
    patches = (c["image_size"] // c["patch_size"]) ** 2
    embeddings = hidden * (c["num_channels"] * c["patch_size"] ** 2 + 1 + patches)
    matrices = c["num_hidden_layers"] * (4 * hidden**2 + mlp)
    rest = embeddings + c["num_hidden_layers"] * (4 * hidden + mlp_biases + 4 * hidden) + 2 * hidden
    if c["vision_use_head"]:  # one more attention, whose three projections are a single tensor
        matrices += hidden**2 + mlp
        rest += hidden + 3 * hidden * (hidden + 1) + hidden + 2 * hidden + mlp_biases
    projector = hidden * text_hidden + hidden
    return matrices, rest + projector
