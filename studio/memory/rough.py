"""A rough idea of the memory a run takes, for the list of models and the first look at a plan.

Sums weights, trained weights with their gradients and optimizer state, activations by one coefficient, and a
margin. It knows nothing of attention kernels, loss chunks or fragmentation: say "rough" wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from studio.methods import Dimensions, trained_itemsize
from studio.models.config import ModelFacts
from studio.models.quantisation import Quantisation
from studio.models.weights import matrices
from studio.plan import Plan, methods, parse_request

MIB = 2**20
Verdict = Literal["yes", "tight", "no"]

# Bytes that a decoder layer keeps for the backward pass, per token and unit of hidden size, in 16-bit
# arithmetic with adapters (with dropout) on all linear layers of a Llama; doubled in 32 bit.
_ACTIVATION_BYTES = 68
# What a layer keeps where activations are computed twice: its input.
_CHECKPOINT_BYTES = 2
# A Python process with torch, transformers and peft loaded, and on a GPU the driver's context.
_PROCESS_BYTES = {"cpu": 700 * MIB, "cuda": 600 * MIB, "mps": 700 * MIB}
_MARGIN = 0.15
# A chunk of logits and its gradient, in 32 bit.
_CHUNK_TOKENS = 256
TIGHT = 0.8


@dataclass(frozen=True)
class RoughNeed:
    """Bytes by part; `total` includes the margin."""

    weights: int
    trained: int
    gradients: int
    optimizer: int
    activations: int
    process: int

    @property
    def total(self) -> int:
        parts = self.weights + self.trained + self.gradients + self.optimizer + self.activations
        return int(parts * (1 + _MARGIN)) + self.process


def rough_need(plan: Plan, model: ModelFacts) -> RoughNeed | None:
    """What this plan takes on its device, None if the model's number of parameters is unknown.

    `batch`, `seq` and `precision` must be set.
    """
    if model.parameters is None:
        return None
    settings = plan.settings
    assert settings.batch is not None
    assert settings.seq is not None
    wide = settings.precision == "fp32"
    method = methods.get(plan.method)
    trained = method.memory(model, plan.method_params, settings)
    itemsize = trained_itemsize(settings)
    state = plan.optimizer.state_bytes(trained.trainable, itemsize, plan.optimizer_params)
    return RoughNeed(
        weights=_weights(plan, model, 4 if wide else 2),
        trained=trained.trained_bytes,
        gradients=trained.trainable_params * itemsize,
        optimizer=state,
        activations=_activations(plan, model, trained.kept_per_token),
        process=_PROCESS_BYTES[(settings.device or "cpu").partition(":")[0]],
    )


def _weights(plan: Plan, model: ModelFacts, itemsize: int) -> int:
    """The base; where its method holds it in 4 bit, embeddings, norms and head are not."""
    assert model.parameters is not None
    quantisation = methods.get(plan.method).base_quantisation(plan.method_params)
    if quantisation is None:
        return model.parameters * itemsize
    return quantised_bytes(model, model.parameters, quantisation, itemsize)


def quantised_bytes(model: Dimensions, parameters: int, quantisation: Quantisation, itemsize: int) -> int:
    """A base of `parameters` weights whose linear layers but the head are in 4 bit, the rest `itemsize`
    bytes each."""
    quantised = matrices(model)
    return int(quantised * quantisation.bits_per_weight / 8) + (parameters - quantised) * itemsize


def typical_need(model: ModelFacts, device: str) -> RoughNeed | None:
    """What tuning a model usually takes: LoRA, four rows of 512 tokens, 16-bit arithmetic."""
    seq = min(512, model.context or 512)
    plan = parse_request("", "", set={"batch": 4, "seq": seq, "precision": "mixed", "device": device})
    return rough_need(plan, model)


def verdict(needed_bytes: int | None, free_bytes: int | None) -> Verdict | None:
    """Whether it fits: `tight` means that less than a fifth stays free; None if either number is unknown."""
    if needed_bytes is None or free_bytes is None:
        return None
    if needed_bytes <= TIGHT * free_bytes:
        return "yes"
    return "tight" if needed_bytes <= free_bytes else "no"


def _activations(plan: Plan, model: Dimensions, kept_per_token: int | None) -> int:
    """Bytes kept for the backward pass over all positions of a batch, and one chunk of logits."""
    settings = plan.settings
    assert settings.batch is not None
    assert settings.seq is not None
    tokens = settings.batch * settings.seq
    scale = 2 if settings.precision == "fp32" else 1
    layer = _ACTIVATION_BYTES * scale * tokens * model.hidden
    kept = _CHECKPOINT_BYTES * scale * tokens * model.hidden
    if kept_per_token is not None:
        # Beside what the method keeps, the backbone's layer of the moment, which keeps nothing.
        body = kept_per_token * scale * tokens + layer // 2
    elif settings.gradient_checkpointing:
        body = layer + kept * model.layers
    else:
        body = layer * model.layers
    return body + 8 * min(tokens, _CHUNK_TOKENS) * model.vocab
