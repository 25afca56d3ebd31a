"""Draw a row's next token from its logits, by the row's own generator.

Penalties and filters come in the order of transformers' logits processors, so that equal settings mean the
same distribution here and there. The draw itself takes one uniform number per token from a generator of the
row's own: what else is in the batch neither consumes nor shifts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from studio.errors import StudioError
from studio.generate.request import Sampling


def adjusted(logits: Tensor, sampling: Sampling, seen: Tensor) -> Tensor:
    """Logits after penalty, temperature, top-k and top-p; filtered tokens get -inf.

    Args:
        logits: (V,) float32.
        sampling: It must not be greedy.
        seen: Ids of prompt and answer so far, int64, any length.
    """
    logits = penalised(logits, sampling.repetition_penalty, seen) / sampling.temperature
    if 0 < sampling.top_k < logits.numel():
        lowest = torch.topk(logits, sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < lowest, -math.inf)
    if sampling.top_p < 1.0:
        ascending, order = torch.sort(logits)
        outside = ascending.softmax(-1).cumsum(-1) <= 1.0 - sampling.top_p
        outside[-1] = False  # the likeliest token always stays
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(0, order, outside), -math.inf)
    return logits


def penalised(logits: Tensor, penalty: float, seen: Tensor) -> Tensor:
    """`logits` (V,) with the repetition penalty on the ids in `seen`."""
    if penalty == 1.0:
        return logits
    values = logits[seen]
    return logits.scatter(0, seen, torch.where(values < 0, values * penalty, values / penalty))


class RowSampler:
    """Chooses the tokens of one row. Its state is the generator's and the ids seen so far."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._seen = list(prompt) if sampling.repetition_penalty != 1.0 else []

    def choose(self, logits: Tensor) -> int:
        """The next token's id for logits (V,).

        Raises:
            StudioError: `model_gives_no_numbers` if a logit is NaN or infinite, as after a run that diverged.
        """
        best, index = logits.max(-1)
        if not math.isfinite(best.item()):
            raise StudioError("model_gives_no_numbers")
        if self._sampling.greedy and self._sampling.repetition_penalty == 1.0:
            return int(index)
        # On the processor and in 32 bit, so that a seed means the same on every device.
        token = self._draw(logits.float().cpu())
        if self._sampling.repetition_penalty != 1.0:
            self._seen.append(token)
        return token

    def _draw(self, logits: Tensor) -> int:
        seen = torch.tensor(self._seen, dtype=torch.int64)
        if self._sampling.greedy:
            return int(penalised(logits, self._sampling.repetition_penalty, seen).argmax())
        reach = adjusted(logits, self._sampling, seen).double().softmax(-1).cumsum(-1)
        point = torch.rand((), generator=self._generator, dtype=torch.float64) * reach[-1]
        return int(torch.searchsorted(reach, point, right=True))
