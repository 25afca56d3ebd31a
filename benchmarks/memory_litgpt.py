"""lit-gpt's own model with its LoRA, as far as it shows in memory (October 2023; see memory_rows.md).

One matrix makes queries, keys and values; its adapter covers queries and values and is put into zeros of the
matrix's whole width. Fabric's bf16-true raises the outputs to 32 bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from benchmarks.memory_kernels import FlashAttention
from studio.models.quantisation import Quantisation

CHUNK = 128  # positions per chunk of logits


class LitGPT(nn.Module):
    """The model of a published config of the llama, phi or gpt_neox family; only adapters train."""

    def __init__(self, published: dict[str, Any], rank: int, dropout: float) -> None:
        super().__init__()
        config = published["config"]
        hidden, vocabulary = config["hidden_size"], published["padded_vocab_size"]
        llama = config["model_type"] == "llama"
        norm = RmsNorm if llama else nn.LayerNorm
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.layers = nn.ModuleList(
            Block(config, norm, rank, dropout) for _ in range(config["num_hidden_layers"])
        )
        self.norm = norm(hidden)
        self.head = nn.Linear(hidden, vocabulary, bias=config["model_type"] == "phi")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("lora" in name)
        part = config.get("partial_rotary_factor", config.get("rotary_pct", 1.0))
        turned = int(part * hidden // config["num_attention_heads"])
        positions = config["max_position_embeddings"]
        self.cos, self.sin = (
            nn.Buffer(torch.zeros(positions, turned)),
            nn.Buffer(torch.zeros(positions, turned)),
        )

    def get_output_embeddings(self) -> nn.Linear:
        """As transformers' models call it."""
        return self.head

    def make_cache(self, positions: int) -> None:
        """Keys and values of one row, for every head, before the prompt is read."""
        for layer in self.layers:
            layer.cache = [torch.zeros((1, layer.heads, positions, layer.width)).bfloat16() for _ in range(2)]

    def forward(self, tokens: Tensor, places: Tensor | None = None) -> list[Tensor]:
        """Chunks of logits; `places` are the positions of the tokens in the cache, if there is one."""
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, places)
        x = self.norm(x)
        return [self.head(part) for part in x.split(CHUNK, dim=1)]

    def loss(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The mean loss, and the chunks that the loop holds."""
        chunks = self(tokens)
        logits = [chunk.float() for chunk in chunks]
        del chunks
        logits[-1] = logits[-1][:, :-1]
        targets = tokens[:, 1:].split(CHUNK, dim=1)
        losses = [
            functional.cross_entropy(
                part.reshape(-1, part.shape[-1]), target.reshape(-1), ignore_index=-1, reduction="none"
            )
            for part, target in zip(logits, targets, strict=True)
        ]
        return torch.cat(losses).sum() / tokens.numel(), logits


class RmsNorm(nn.Module):
    """In 32 bit, the weight included."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scaled = wide * torch.rsqrt(torch.mean(wide * wide, dim=-1, keepdim=True) + 1e-5)
        return (self.weight * scaled).to(x.dtype)


class Block(nn.Module):
    """A decoder layer: attention and MLP one after the other, or side by side."""

    def __init__(self, config: dict[str, Any], norm: Any, rank: int, dropout: float) -> None:
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        self.family = config["model_type"]
        biased = self.family != "llama"
        self.heads = config["num_attention_heads"]
        self.groups = config.get("num_key_value_heads", self.heads)
        self.width = hidden // self.heads
        self.cache: list[Tensor] = []
        self.before = norm(hidden)
        self.between = None if self.family == "phi" else norm(hidden)
        self.qkv = nn.Linear(hidden, hidden + 2 * self.groups * self.width, bias=biased)
        self.rank = rank
        self.lora_a = nn.Parameter(torch.zeros(2 * rank, hidden))
        self.lora_b = nn.Parameter(torch.zeros(2 * hidden, rank))
        self.dropout = nn.Dropout(dropout)
        self.filled = nn.Buffer(torch.zeros(2 * hidden, dtype=torch.int64))
        self.out = nn.Linear(hidden, hidden, bias=biased)
        self.up = nn.Linear(hidden, inner, bias=biased)
        self.gate = None if biased else nn.Linear(hidden, inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=biased)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None = None) -> Tensor:
        """(rows, tokens, hidden)."""
        read = self.before(x)
        mixed = self.attention(read, cos, sin, places)
        if self.family == "llama":
            assert self.between is not None
            x = mixed + x
            return self.mlp(self.between(x)) + x
        return self.mlp(read if self.between is None else self.between(x)) + mixed + x

    def mlp(self, x: Tensor) -> Tensor:
        """Gated, or with GELU."""
        if self.gate is None:
            return self.down(functional.gelu(self.up(x)))
        return self.down(functional.silu(self.gate(x)) * self.up(x))

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None) -> Tensor:
        """Causal; the rotation covers a part of each head, keys and values are repeated for theirs."""
        rows, length, hidden = x.shape
        each = self.heads // self.groups
        qkv = self.projected(x).view(rows, length, self.groups, each + 2, self.width).permute(0, 2, 3, 1, 4)
        query, key, value = qkv.split((each, 1, 1), dim=2)
        if each > 1:
            key, value = (part.expand(rows, self.groups, each, length, self.width) for part in (key, value))
        query, key, value = (part.reshape(rows, -1, length, self.width) for part in (query, key, value))
        query, key = turned(query, cos, sin), turned(key, cos, sin)
        if places is not None:
            key, value = (
                old.index_copy_(2, places, new) for old, new in zip(self.cache, (key, value), strict=True)
            )
        by_token = (part.transpose(1, 2) for part in (query, key, value))  # the values look at all of qkv
        return self.out(FlashAttention.apply(*by_token).reshape(rows, length, hidden))

    def projected(self, x: Tensor) -> Tensor:
        """Queries, keys and values with the adapter's part of them."""
        base = self.qkv(x)
        if not self.rank:
            return base
        narrow = functional.linear(self.dropout(x), self.lora_a)
        wide = functional.conv1d(narrow.transpose(-2, -1), self.lora_b.unsqueeze(-1), groups=2).transpose(
            -2, -1
        )
        return base + self.padded(wide) * 2.0

    def padded(self, x: Tensor) -> Tensor:
        """(rows, tokens, 2 * hidden) put into zeros of (rows, tokens, 3 * hidden)."""
        x = x.transpose(0, 1)
        whole = self.qkv.out_features
        result = x.new_zeros((*x.shape[:-1], whole)).view(-1, whole)
        result = result.index_copy(1, self.filled, x.reshape(-1, x.shape[-1]))
        return result.view((*x.shape[:-1], whole)).transpose(0, 1)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The first part of each head rotated, the rest as it is."""
    part = x[..., : cos.shape[-1]]
    first, second = part.chunk(2, dim=-1)
    rotated = (part * cos) + (torch.cat((-second, first), dim=-1) * sin)
    return torch.cat((rotated.to(x.dtype), x[..., cos.shape[-1] :]), dim=-1)


class FourBitProduct(Function):
    """bitsandbytes 0.41.1: keeps the input; the weight is made in fp16 and copied to the input's dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FourBit) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = layer
        return functional.linear(x, layer.dense().to(x.dtype), layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.dense().to(grads[0].dtype), None


class FourBit(nn.Module):
    """A linear layer in 4 bit."""

    def __init__(self, layer: nn.Linear, quantisation: Quantisation) -> None:
        super().__init__()
        self.out_features, self.shape, self.bias = layer.out_features, layer.weight.shape, layer.bias
        size = layer.weight.numel()
        self.packed = nn.Buffer(torch.zeros(size // 2, dtype=torch.uint8))
        self.nested = quantisation.double
        kind = torch.uint8 if self.nested else torch.float32
        self.scales = nn.Buffer(torch.zeros(size // 64, dtype=kind))
        self.outer = nn.Buffer(torch.zeros(-(-size // (64 * 256)) if self.nested else 0))

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[-1] and not x.requires_grad:  # one token: a kernel without the whole weight
            return x.new_empty((*x.shape[:-1], self.out_features))
        out: Tensor = FourBitProduct.apply(x, self)
        return out

    def dense(self) -> Tensor:
        """The weight in fp16; nested scales in 32 bit live while it is made."""
        scales = self.scales.float() if self.nested else self.scales
        weight = scales.new_empty(self.shape, dtype=torch.float16)
        del scales
        return weight


def hold_in_4_bit(model: nn.Module, quantisation: Quantisation) -> None:
    """Every linear layer, the head too."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, FourBit(layer, quantisation))
