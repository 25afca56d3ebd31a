"""A tag as a function call, with everything escaped that isn't markup already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

Child = Any  # str (escaped), Markup, a number, None (left out), or an iterable of these

_VOID = frozenset({"input", "br", "hr", "img", "meta", "link"})


def h(tag: str, *children: Child, **attributes: Any) -> Markup:
    """`h("a", "text", class_="link", data_act="go")`.

    An underscore in an attribute's name becomes a hyphen, a trailing one is dropped. True gives an attribute
    without value; None and False leave it out.
    """
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        shown = name.rstrip("_").replace("_", "-")
        parts.append(f" {shown}" if value is True else f' {shown}="{escape(value)}"')
    parts.append(">")
    if tag not in _VOID:
        parts += [_inner(children), f"</{tag}>"]
    return Markup("".join(parts))


def join(*children: Child) -> Markup:
    """Several pieces, one after the other, without a tag around them."""
    return Markup(_inner(children))


def _inner(children: Iterable[Child]) -> str:
    out: list[str] = []
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, str):  # Markup is a str; escape leaves it as it is
            out.append(str(escape(child)))
        elif isinstance(child, Iterable):
            out.append(_inner(child))
        else:
            out.append(str(escape(child)))
    return "".join(out)


def classes(*names: str | bool | None) -> str:
    """Class names that aren't empty, with spaces between."""
    return " ".join(n for n in names if isinstance(n, str) and n)
