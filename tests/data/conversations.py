"""Conversations that a renderer is tried on, as streams and as transformers takes them."""

from __future__ import annotations

from studio.data.render import Renderer
from studio.data.rows import Message, Stream

CONVERSATIONS = {
    "single": [("user", "What is the capital of France?"), ("assistant", "Paris.")],
    "multi": [
        ("user", "Hello"),
        ("assistant", "Hi there! 😀"),
        ("user", " what is 12 + 34?\n"),
        ("assistant", " 46 é你 "),
    ],
    "system": [("system", "Be kind."), ("user", "привет"), ("assistant", "I'm fine,\n\nthank you!")],
    "thinking": [
        ("user", "a"),
        ("assistant", "<think>\nhm\n</think>\n\nb"),
        ("user", "c"),
        ("assistant", "<think>\nhm 2\n</think>\n\nd"),
    ],
    "three": [(role, f"{role} says {n}") for n in range(3) for role in ("user", "assistant")],
}


def stream_of(turns: list[tuple[str, str]]) -> Stream:
    messages = tuple(Message.of(role, text) for role, text in turns)
    return Stream(messages, tuple(m.role == "assistant" for m in messages))


def dicts_of(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def learned_text(renderer: Renderer, stream: Stream) -> str:
    encoded = renderer.encode(stream)
    ids = [i for i, learned in zip(encoded.ids, encoded.learned, strict=True) if learned]
    return renderer.decode(ids, skip_special=False)
