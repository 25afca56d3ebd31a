"""A model's chat template: messages -> text, and where in that text each answer stands. No torch, no
transformers.

The text equals that of transformers' `apply_chat_template`. Templates come with models from elsewhere, so
they run in jinja's sandbox. Where an answer stands is found in one of two ways:

1. by the template's own `{% generation %}` marks, where it has one pair per answer;
2. else by marking the answers themselves: the template is rendered a second time with each answer wrapped in
   two characters that never occur in text. Whatever the template does around the answers is then seen from
   the outside, also where a shorter conversation is no prefix of a longer one (Qwen 3 drops the thinking of
   earlier turns).

An answer reaches from the end of the generation prompt (so that what the template puts before the answer, an
empty thinking block for example, is learned like the model has to write it) to its end-of-turn token, that
included."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from studio.data.rows import Message
from studio.errors import Reason, StudioError

# Noncharacters: Unicode keeps them for the inside of programs, so no text of a person has them.
_GENERATION_START, _GENERATION_END, _ANSWER_START, _ANSWER_END = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
_MARKS = re.compile("[\ufdd0-\ufdd3]")

FALLBACK = """\
{% for message in messages %}
{% if message['role'] == 'assistant' %}
Assistant:
{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}

{% elif message['role'] == 'user' %}
User:
{{ message['content'] }}

{% else %}
{{ message['content'] }}

{% endif %}
{% endfor %}
{% if add_generation_prompt %}
Assistant:
{% endif %}
"""
"""For base models that bring no template: role names on lines of their own, every answer closed by the end
token."""

# A template is a program from elsewhere: besides jinja's own errors it can fail like any expression can.
_RENDER_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class _GenerationTag(Extension):
    """`{% generation %}...{% endgeneration %}`: its text, wrapped in marks that are taken out after
    rendering."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_wrap"), [], [], body).set_lineno(line)

    def _wrap(self, caller: Macro) -> str:
        return f"{_GENERATION_START}{caller()}{_GENERATION_END}"


class _SafeNamespace(Namespace):
    """jinja's `namespace()` without underscore names, as transformers has it."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        Namespace.__init__(*args, **kwargs)
        if any(str(name).startswith("_") for name in dict(*args[1:], **kwargs)):
            raise TemplateError("a namespace takes no names that begin with an underscore")

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise TemplateError("a namespace takes no names that begin with an underscore")
        super().__setitem__(name, value)


def _environment(now: datetime) -> ImmutableSandboxedEnvironment:
    """The surroundings that chat templates are written for: transformers' filters and functions."""

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def strftime_now(form: str) -> str:
        return now.strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals.update(
        raise_exception=raise_exception, strftime_now=strftime_now, namespace=_SafeNamespace
    )
    return environment


@dataclass(frozen=True)
class Conversation:
    """`text` as the model reads it; `answers`: for each message its span in characters, None unless an
    answer."""

    text: str
    answers: tuple[tuple[int, int] | None, ...]


class ChatTemplate:
    """One template with its special tokens. `notes` say what the template can't do and what is done instead.

    `end_token` is the special token that closes an answer, None where the template writes none; `opening` is
    what the template adds to ask for an answer."""

    def __init__(
        self, text: str, special_tokens: Mapping[str, str], all_special: Sequence[str], now: datetime
    ) -> None:
        """`special_tokens`: by name (`bos_token`), for the template; `all_special`: every special token's
        text.

        Raises StudioError `template_broken` (detail) for a template that doesn't parse or can't say hello.
        """
        self.text = text
        self._special_tokens = dict(special_tokens)
        try:
            self._template = _environment(now).from_string(text)
        except TemplateError as error:
            raise StudioError("template_broken", detail=str(error)) from error
        self._knows_tools = "tool" in text
        self._knows_system = True
        self._closing = ""
        self.opening = ""
        self.end_token: str | None = None
        self.notes = tuple(self._look_around(all_special))

    def _look_around(self, all_special: Sequence[str]) -> list[Reason]:
        """Try the template on small conversations and keep what it does around an answer."""
        notes: list[Reason] = []
        question, answer = Message.of("user", "Hello?"), Message.of("assistant", "Hi!")
        try:
            asked = self.render([question])
            prompted = self.render([question], add_generation_prompt=True)
            # Some templates close a conversation that asks nothing (Phi 3), so the one is no prefix of the
            # other.
            self.opening = prompted[_shared_length(asked, prompted) :]
            answered = self.render([question, answer])
            content_end = self._find_answers(self._adapt([question, answer]), answered)[0][1]
        except StudioError as error:
            raise StudioError("template_broken", detail=error.facts.get("detail", error.code)) from error
        try:
            self._knows_system = "Be kind." in self.render([Message.of("system", "Be kind."), question])
        except StudioError:
            self._knows_system = False
        if not self._knows_system:
            notes.append(Reason("template_no_system"))
        after = answered[content_end:]
        found = [
            (after.index(token), -len(token), token) for token in all_special if token and token in after
        ]
        if found:
            place, _, self.end_token = min(found)
            self._closing = after[: place + len(self.end_token)]
        else:
            notes.append(Reason("template_no_end"))
        return notes

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The text of a conversation. Raises StudioError `template_refused` (detail)."""
        return _MARKS.sub("", self._render_marked(self._adapt(messages), add_generation_prompt))

    def locate(self, messages: Sequence[Message]) -> Conversation:
        """The text, and where each answer stands in it.

        Raises StudioError `template_refused`, and `template_unclear` where the template changes or hides an
        answer so that it can't be found again."""
        adapted = self._adapt(messages)
        marked = self._render_marked(adapted, add_generation_prompt=False)
        text, spans = _take_out(marked, _GENERATION_START, _GENERATION_END)
        answers = sum(m["role"] == "assistant" for m in adapted)
        if len(spans) != answers or None in [start for start, _ in spans]:
            spans = self._find_answers(adapted, text)
        placed = iter([(start or 0, self._close(text, end)) for start, end in spans])
        return Conversation(text, tuple(next(placed) if m.role == "assistant" else None for m in messages))

    def _find_answers(self, adapted: Sequence[dict[str, str]], text: str) -> list[tuple[int | None, int]]:
        """Spans from the generation prompt to the end of the answer's own text."""
        wrapped = [
            {**m, "content": _wrap_answer(m["content"])} if m["role"] == "assistant" else m for m in adapted
        ]
        marked = re.sub(f"[{_GENERATION_START}{_GENERATION_END}]", "", self._render_marked(wrapped, False))
        without, spans = _take_out(marked, _ANSWER_START, _ANSWER_END)
        if without != text or len(spans) != sum(m["role"] == "assistant" for m in adapted):
            raise StudioError("template_unclear", detail="the template changes or leaves out an answer")
        found: list[tuple[int | None, int]] = []
        before = 0
        for content_start, end in spans:
            limit = end if content_start is None else content_start
            opened = text.rfind(self.opening, before, limit) if self.opening else -1
            if opened < 0 and content_start is None:
                raise StudioError("template_unclear", detail="the template hides where an answer begins")
            found.append((content_start if opened < 0 else opened + len(self.opening), end))
            before = end
        return found

    def _close(self, text: str, end: int) -> int:
        """Move the end of an answer behind its end-of-turn token, white space between them included."""
        if not self.end_token or text[:end].endswith(self.end_token):
            return end
        place = text.find(self.end_token, end)
        closes = place >= 0 and not text[end:place].strip()
        return place + len(self.end_token) if closes else end

    def _render_marked(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=[dict(m) for m in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except _RENDER_ERRORS as error:
            raise StudioError("template_refused", detail=str(error)) from error

    def _adapt(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """Messages as the template takes them: one that knows no system role gets that text in front of the
        first question, one that knows no tools gets their results as questions."""
        adapted = [{"role": m.role, "content": _MARKS.sub("", m.text)} for m in messages]
        if not self._knows_tools:
            adapted = [{**m, "role": "user"} if m["role"] == "tool" else m for m in adapted]
        if not self._knows_system and len(adapted) > 1 and adapted[0]["role"] == "system":
            first, second, *rest = adapted
            adapted = [{**second, "content": f"{first['content']}\n\n{second['content']}"}, *rest]
        return adapted


def _shared_length(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _wrap_answer(content: str) -> str:
    """Marks go inside the white space at the ends, so that a template's `trim` does what it does without
    them."""
    core = content.strip()
    start = content.index(core)
    return f"{content[:start]}{_ANSWER_START}{core}{_ANSWER_END}{content[start + len(core) :]}"


def _take_out(marked: str, start_mark: str, end_mark: str) -> tuple[str, list[tuple[int | None, int]]]:
    """Text without the marks, and a (start, end) per end mark; start is None where its mark was lost."""
    parts: list[str] = []
    spans: list[tuple[int | None, int]] = []
    at, open_at = 0, None
    for piece in re.split(f"([{start_mark}{end_mark}])", marked):
        if piece == start_mark:
            open_at = at
        elif piece == end_mark:
            spans.append((open_at, at))
            open_at = None
        else:
            parts.append(piece)
            at += len(piece)
    return "".join(parts), spans
