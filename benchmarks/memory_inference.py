"""lit-gpt's `generate/base.py`, by arithmetic and by trace.

Its cache covers all heads and the whole length from the start, the logits of all positions of the prompt go
to 32 bit, and a 4-bit weight is made in fp16 and copied to bf16 before each product of more than one token
(bitsandbytes 0.41.1), the head's too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.memory_litgpt import LitGPT, hold_in_4_bit
from benchmarks.memory_rows import Row, facts, published, quantisation_of
from studio.memory.cards import blas_workspace
from studio.memory.fake import become_fake
from studio.memory.generation import cache_bytes, generation_need
from studio.memory.need import Need
from studio.memory.tracker import StorageTracker, tensors_of

NEW_TOKENS = 50


def predicted(row: Row) -> Need:
    """The estimate: the studio's own, with what lit-gpt does otherwise."""
    model, quantisation = facts(row), quantisation_of(row)
    context = int(row["seq"])
    prompt = context - NEW_TOKENS
    need = generation_need(model, quantisation, 2, 1, context, prompt)
    head = model.vocab * model.hidden
    parts = need.parts | {
        "cache": cache_bytes(replace(model, kv_heads=model.heads), 2, 1, context),
        "activations": 2 * (model.context or 0) * model.head_dim * 2 + prompt * model.hidden * 2,
        "logits": prompt * model.vocab * (2 + 4),
    }
    if quantisation:
        parts["weights"] -= int(head * (2 - quantisation.bits_per_weight / 8))
        parts["workspace"] = blas_workspace("cuda", handles=1) + 2 * 2 * head
        parts["logits"] = 0  # they come after that moment
    total = sum(parts.values())
    return Need("estimate", parts, "reading the prompt", lambda: (total, total))


def traced(row: Row) -> Need:
    """The peak over reading the prompt and making one token."""
    with torch.device("meta"):
        model = LitGPT(published(row), 0, 0.0).to(torch.bfloat16).eval()
        if quantisation := quantisation_of(row):
            hold_in_4_bit(model, quantisation)
    become_fake(model, mode := FakeTensorMode(allow_non_fake_inputs=True))
    with mode, torch.no_grad():
        tracker = StorageTracker(vocabulary=model.embedding.num_embeddings)
        with tracker:
            tracker.hold(tensors_of(model), "weights")
            context = int(row["seq"])
            with tracker.part("cache"):
                model.make_cache(context)
            for length in (context - NEW_TOKENS, 1):
                with tracker.part("activations"):
                    tokens = torch.zeros((1, length), dtype=torch.int64)
                    logits = model(tokens, torch.zeros(length, dtype=torch.int64))[0].float()
                    probable = torch.softmax(logits[0, -1] / 0.8, dim=-1)
                    del logits, probable
    parts: dict[str, Any] = {name: size for name, size in tracker.peak_parts.items() if size}
    parts["workspace"] = blas_workspace("cuda", handles=1)
    total = sum(parts.values())
    return Need("trace", parts, tracker.moment, lambda: (total, total))
