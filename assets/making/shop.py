"""Brightwheel Bikes, a shop that doesn't exist: its facts, the questions learned and those held out."""

from __future__ import annotations

from dataclasses import dataclass

from assets.making.phrasing import wordings


@dataclass(frozen=True)
class ShopFact:
    """One answer; `ask` are templates for training questions, `heldout` questions in other words."""

    answer: str
    ask: tuple[str, ...]
    heldout: tuple[str, ...]


FACTS = tuple(
    ShopFact(fact["answer"], tuple(fact["ask"]), tuple(fact["heldout"])) for fact in wordings("shop")
)
