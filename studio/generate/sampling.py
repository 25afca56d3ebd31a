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
from studio.generate.request import Logprobs, Sampling


def logprobs(logits: Tensor, chosen: int, top: int) -> Logprobs:
    """Log-probabilities of the chosen token and of the `top` likeliest by raw logits (V,)."""
    every = logits.float().log_softmax(-1)
    best = every.topk(min(top, every.numel()))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Logprobs(every[chosen].item(), tuple(pairs))


def adjusted(logits: Tensor, sampling: Sampling, prompt: Tensor, answer: Tensor) -> Tensor:
    """Logits after penalties, temperature, top-k and top-p; filtered tokens get -inf.

    Args:
        logits: (V,) float32.
        sampling: It must not be greedy.
        prompt: Its ids, int64, any length.
        answer: The ids drawn so far, likewise.
    """
    logits = penalised(logits, sampling, prompt, answer) / sampling.temperature
    if 0 < sampling.top_k < logits.numel():
        lowest = torch.topk(logits, sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < lowest, -math.inf)
    if sampling.top_p < 1.0:
        ascending, order = torch.sort(logits)
        outside = ascending.softmax(-1).cumsum(-1) <= 1.0 - sampling.top_p
        outside[-1] = False  # the likeliest token always stays
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(0, order, outside), -math.inf)
    return logits


def penalised(logits: Tensor, sampling: Sampling, prompt: Tensor, answer: Tensor) -> Tensor:
    """`logits` (V,) with the penalties of `sampling` on what stands in prompt and answer."""
    if sampling.repetition_penalty != 1.0:
        seen, penalty = torch.cat([prompt, answer]), sampling.repetition_penalty
        values = logits[seen]
        logits = logits.scatter(0, seen, torch.where(values < 0, values * penalty, values / penalty))
    if sampling.frequency_penalty or sampling.presence_penalty:
        counts = torch.bincount(answer, minlength=logits.numel())
        logits = logits - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)
    return logits


class RowSampler:
    """Chooses the tokens of one row. Its state is the generator's and the ids drawn so far."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._prompt = torch.tensor(prompt, dtype=torch.int64)
        self._answer: list[int] = []

    def choose(self, logits: Tensor) -> int:
        """The next token's id for logits (V,).

        Raises:
            StudioError: `model_gives_no_numbers` if a logit is NaN or infinite, as after a run that diverged.
        """
        best, index = logits.max(-1)
        if not math.isfinite(best.item()):
            raise StudioError("model_gives_no_numbers")
        if self._sampling.greedy and not self._sampling.penalises:
            return int(index)
        # On the processor and in 32 bit, so that a seed means the same on every device.
        token = self._draw(logits.float().cpu())
        if self._sampling.penalises:
            self._answer.append(token)
        return token

    def _draw(self, logits: Tensor) -> int:
        answer = torch.tensor(self._answer, dtype=torch.int64)
        if self._sampling.greedy:
            return int(penalised(logits, self._sampling, self._prompt, answer).argmax())
        reach = adjusted(logits, self._sampling, self._prompt, answer).double().softmax(-1).cumsum(-1)
        point = torch.rand((), generator=self._generator, dtype=torch.float64) * reach[-1]
        return int(torch.searchsorted(reach, point, right=True))
