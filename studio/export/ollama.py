"""The Modelfile that `ollama create` reads beside a GGUF file."""

from __future__ import annotations

from studio.data.render import Renderer
from studio.data.rows import Message
from studio.data.template import ChatTemplate
from studio.errors import StudioError

_SYSTEM, _USER, _ASSISTANT = (
    Message.of(role, f"what the {role} says") for role in ("system", "user", "assistant")
)
_TALK = (_USER, _ASSISTANT, _USER, _ASSISTANT, _USER)


def modelfile(file: str, renderer: Renderer, begin: str, lead: str = "") -> str:
    """Where the model is, how its messages are written, and where it stops. `begin`: what the GGUF file has
    put before every text; `lead`: what its chat template writes first."""
    lines = [f"FROM ./{file}"]
    if template := go_template(renderer.template, begin):
        lines.append(f'TEMPLATE """{lead}{template}"""')
    stops = [renderer.decode([id], skip_special=False) for id in sorted(renderer.stop_ids)]
    return "\n".join([*lines, *(f'PARAMETER stop "{stop}"' for stop in stops)]) + "\n"


def go_template(template: ChatTemplate, begin: str = "") -> str | None:
    """A chat template in the language of Ollama, Go's text/template over `.Messages`.

    Only of one that writes message after message, each by itself. None where it does more, such as adding a
    date or a system message of its own: Ollama finds those of well-known models by the one in the GGUF file.
    """
    try:
        pieces, opening = _pieces(template, begin)
        talks = [_TALK, (_SYSTEM, *_TALK)] if _SYSTEM in pieces else [_TALK]
        for talk in talks:
            written = "".join(pieces[message] for message in talk)
            if template.render(talk, add_generation_prompt=True) != begin + written + opening:
                return None
    except (StudioError, KeyError):  # it refuses such a talk, or leaves a message out
        return None
    branches, literal = [], opening
    for message, text in pieces.items():
        before, _, after = text.partition(message.text)
        branches.append(f'if eq .Role "{message.role}" }}}}{before}{{{{ .Content }}}}{after}')
        literal += before + after
    if "{{" in literal or '"""' in literal:
        return None
    return "{{ range .Messages }}{{ " + "{{ else ".join(branches) + "{{ end }}{{ end }}" + opening


def _pieces(template: ChatTemplate, begin: str) -> tuple[dict[Message, str], str]:
    """What each message becomes if each is written by itself, and what asks for an answer. Without those
    that are left out."""
    user = template.render([_USER])
    opening = template.render([_USER], add_generation_prompt=True).removeprefix(user)
    asked = user.removeprefix(begin)
    pieces = {
        _SYSTEM: template.render([_SYSTEM, _USER]).removeprefix(begin).removesuffix(asked),
        _USER: asked,
        _ASSISTANT: template.render([_USER, _ASSISTANT]).removeprefix(user),
    }
    return {message: text for message, text in pieces.items() if text.count(message.text) == 1}, opening
