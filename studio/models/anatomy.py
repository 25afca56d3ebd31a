"""A model taken apart by what `studio.models.families` knows of its architecture, or what it is seen to do.

Loss, methods, memory and merging ask an `Anatomy` instead of looking at the model. Parts are looked up by
path each time, since a method may have replaced them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from studio.models.families import FAMILIES, Family
from studio.models.located import located
from studio.registry import load_part


@dataclass(frozen=True)
class Hidden:
    """Final hidden states (B, S, H), after the last norm, and the routers' logits of each layer where there
    are experts."""

    states: Tensor
    router_logits: tuple[Tensor, ...] | None = None


class Anatomy:
    """A causal language model taken apart: by name where its family is known, else as it is found to run.

    `model` is the model as transformers made it. Methods change it in place, so an anatomy stays right.
    """

    def __init__(self, model: nn.Module, family: Family | None = None) -> None:
        """`family`, if it is not that of the model's type. Raises for a family that is not known what
        `located` raises."""
        config = cast(Any, model).config
        self.model = model
        self.family = family or FAMILIES.get(config.model_type) or located(model)
        self.config: Any = config.get_text_config()
        self._balance = load_part(self.family.router_loss) if self.family.router_loss else None

    @property
    def decoder(self) -> nn.Module:
        """The text tower: token ids in, hidden states out."""
        return self.model.get_submodule(self.family.decoder)

    @property
    def embeddings(self) -> nn.Module:
        return self.decoder.get_submodule(self.family.embeddings)

    @property
    def layers(self) -> nn.ModuleList:
        return cast(nn.ModuleList, self.decoder.get_submodule(self.family.layers))

    @property
    def norm(self) -> nn.Module:
        return self.decoder.get_submodule(self.family.norm)

    @property
    def head(self) -> nn.Module:
        return self.model.get_submodule(self.family.head)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Hidden:
        """Final hidden states of `input_ids` (B, S).

        Rows padded on the right need no mask: no real token looks at what comes after it. Only the routers'
        loss counts padding, so a mixture of experts gets the mask.
        """
        if self._balance is None:
            return Hidden(self.decoder(input_ids=input_ids, use_cache=False).last_hidden_state)
        routed = self.decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            output_router_logits=True,
        )
        return Hidden(routed.last_hidden_state, routed.router_logits)

    def logits(self, states: Tensor) -> Tensor:
        """Next-token logits (..., V) of final hidden states (..., H), in the head's dtype."""
        logits: Tensor = self.head(states)
        if self.family.multiply:
            logits = logits * getattr(self.config, self.family.multiply)
        if self.family.divide:
            logits = logits / getattr(self.config, self.family.divide)
        cap = getattr(self.config, self.family.softcap) if self.family.softcap else None
        return cap * torch.tanh(logits / cap) if cap else logits

    def auxiliary_loss(self, hidden: Hidden, attention_mask: Tensor | None) -> Tensor | None:
        """The routers' balancing loss, scaled as the configuration says; None without experts."""
        if self._balance is None:
            return None
        loss = self._balance(
            hidden.router_logits,
            self.config.num_local_experts,
            self.config.num_experts_per_tok,
            attention_mask,
        )
        return cast(Tensor, self.config.router_aux_loss_coef * loss)

    def linears(self) -> Iterator[tuple[str, nn.Module]]:
        """(path from the model's root, module) of each linear layer inside the decoder layers."""
        prefix = f"{self.family.decoder}.{self.family.layers}"
        for name, module in self.layers.named_modules():
            if is_linear(module):
                yield f"{prefix}.{name}", module


def context_of(config: Any) -> int | None:
    """The most positions that a model of this configuration knows (MPT's name for it is another), None where
    it knows no limit."""
    names = ("max_position_embeddings", "max_seq_len")
    return next((said for name in names if (said := getattr(config, name, None)) is not None), None)


def is_linear(module: nn.Module) -> bool:
    """Whether it makes one tensor out of another by one matrix; a router that is derived from such a layer
    chooses experts too."""
    return isinstance(module, (nn.Linear, Conv1D)) and "router" not in type(module).__name__.lower()
