"""A Llama in plain torch to train the starter with; tensors are named as in transformers' LlamaForCausalLM.

Attention is a matrix product with a softmax: for rows of 128 or 256 tokens, compiled, that is faster on a CPU
than the fused kernel with a block-diagonal mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; `head_size` x `heads` is the hidden size."""

    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    mlp: int = 512
    context: int = 512
    theta: float = 10_000.0
    eps: float = 1e-5

    def config(self) -> dict[str, object]:
        """The same as a config.json of transformers."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.hidden // self.heads,
            "hidden_act": "silu",
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.eps,
            "rope_theta": self.theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.theta},
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 0,
            # Stored in bf16, computed in fp32: there what shares a batch changes no token, at no cost.
            "dtype": "float32",
            "use_cache": True,
        }


def rotation(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each (length, head size)."""
    size = shape.hidden // shape.heads
    frequencies = 1.0 / shape.theta ** (torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on x (B, H, T, D), halves as in transformers."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


class Attention(nn.Module):
    """Causal self-attention of all heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(shape.hidden, shape.hidden, bias=False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """x (B, T, C), bias (B, 1, T, T) with -inf where no attention goes."""
        rows, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(rows, length, self.heads, -1).transpose(1, 2)

        q = rotate(split(self.q_proj(x)), cos, sin)
        k = rotate(split(self.k_proj(x)), cos, sin)
        scores = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5
        weights = functional.softmax(scores.float() + bias, dim=-1).to(x.dtype)
        return self.o_proj((weights @ split(self.v_proj(x))).transpose(1, 2).reshape(rows, length, width))


class Mlp(nn.Module):
    """Gated feed-forward block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and feed-forward, each on the normalised stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.eps)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, bias)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embeddings, layers, final norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.eps)


class Llama(nn.Module):
    """The whole model; its output weights are the embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(
                    weight,
                    std=0.02 if "embed" in name else weight.shape[1] ** -0.5 * (0.2 if residual else 0.6),
                )

    def forward(self, tokens: Tensor, bias: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Logits (B, T, V) of tokens (B, T) under an attention bias (B, 1, T, T)."""
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, cos, sin, bias)
        return functional.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def loss(self, tokens: Tensor, weights: Tensor, owner: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Weighted mean of the cross-entropy of each next token.

        `tokens`, `weights`, `owner` are (B, T + 1): `weights` says how much a token counts as a target,
        `owner` numbers the conversations of a row, between which no attention goes.
        """
        length = tokens.shape[1] - 1
        same = owner[:, :-1, None] == owner[:, None, :-1]
        allowed = same & torch.ones(length, length, dtype=torch.bool).tril()
        bias = torch.where(allowed, 0.0, -1e9)[:, None]
        logits = self(tokens[:, :-1], bias, cos, sin)
        each = functional.cross_entropy(
            logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        weight = weights[:, 1:].flatten()
        return (each * weight).sum() / weight.sum()
