"""Modelfiles: chat templates in the language that Ollama reads."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from studio.data.rows import Message
from studio.data.template import ChatTemplate
from studio.export.ollama import go_template
from tests.data import templates

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def template(text: str) -> ChatTemplate:
    return ChatTemplate(text, SPECIAL, list(SPECIAL.values()), datetime(2026, 1, 1))


def executed(go: str, messages: list[Message]) -> str:
    """What Go makes of it: these templates are one `range` over one chain of `if eq .Role`."""
    loop, opening = re.fullmatch(
        r"\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)", go, re.S
    ).groups()
    branches = re.findall(
        r'if eq \.Role "(\w+)" \}\}(.*?)\{\{ \.Content \}\}(.*?)(?=\{\{ else |\Z)', loop, re.S
    )
    around = {role: (before, after) for role, before, after in branches}
    return "".join(around[m.role][0] + m.text + around[m.role][1] for m in messages) + opening


@pytest.mark.parametrize("text", [templates.CHATML, templates.CHATML_MARKED, templates.STARTER])
@pytest.mark.parametrize("roles", ["user", "system user", "system user assistant user"])
def test_it_writes_a_talk_as_the_chat_template_does(text: str, roles: str) -> None:
    its = template(text)
    talk = [Message.of(role, f"number {n},\nsaid") for n, role in enumerate(roles.split())]
    assert executed(go_template(its), talk) == its.render(talk, add_generation_prompt=True)


@pytest.mark.parametrize("name", ["LLAMA3", "GEMMA", "MISTRAL", "PHI3", "QWEN3"])
def test_what_is_more_than_message_after_message_is_left_to_ollama(name: str) -> None:
    its = template(getattr(templates, name))
    assert (go_template(its), go_template(its, "<s>")) == (None, None)


def test_what_the_file_puts_before_every_text_is_not_written_again() -> None:
    its = template("{{ bos_token }}" + templates.CHATML)
    assert "<s>" not in go_template(its, "<s>")
    assert go_template(its) is None  # it is written once, not with each message
    assert go_template(template(templates.CHATML), "<s>") is None  # the model never saw it in a chat


def test_text_that_go_would_read_as_its_own_is_not_given_to_it() -> None:
    braces = templates.CHATML.replace("<|im_end|>", "<{{>")
    assert "{{" in template(braces).render([Message.of("user", "hey")])
    assert go_template(template(braces)) is None
