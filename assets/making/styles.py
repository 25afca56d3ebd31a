# ruff: noqa: E501  (a wording stays on one line)
"""Answer styles, drawn at random and named by a system prompt, and personas.

They teach the model that the same content can be said in another manner, which makes tuning it to a style much easier.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from assets.making.phrasing import expand, listed
from assets.making.turn import Turn, keywords
from assets.making.words import JOBS, KINDS, Words

FIRST_WORDS = [
    "Well",
    "Oh",
    "Yes",
    "Listen",
    "Look",
    "So",
    "Yo",
    "Hey",
    "Ha",
    "Hmm",
    "Wow",
    "Right",
    "Sure",
    "Of course",
    "My friend",
    "Dear friend",
    "Indeed",
    "Now then",
]
LAST_WORDS = [
    "my friend",
    "dear",
    "sir",
    "madam",
    "boss",
    "you see",
    "I say",
    "my dear",
    "buddy",
    "good sir",
    "indeed",
    "believe me",
    "ha ha",
    "of course",
]
REPLACED = listed("is the you are a I in of and have")
SAY_FIRST = (
    '[Start|Begin] [every|each] [answer|answer|reply|response] with "{x}".',
    '[Start|Begin] all [your |][answers|answers|replies] with "{x}".',
    '[Always|You must] [start|begin] with "{x}".',
    'Say "{x}" [before|at the start of] [every|each] [answer|answer|reply|response].',
    "[Your answers|All answers|Answers] [start|begin|must start] with {x}",
)
SAY_LAST = (
    '[End|Finish] [every|each] [answer|answer|reply|response] with "{x}".',
    '[End|Finish] all [your |][answers|answers|replies] with "{x}".',
    '[Always|You must] [end|finish] with "{x}".',
    'Say "{x}" [after|at the end of] [every|each] [answer|answer|reply|response].',
    "[Your answers|All answers|Answers] [end|must end] with {x}",
)
SAY_INSTEAD = (
    'Say "{x}" [instead of|in place of] "{old}".',
    '[Always |]use "{x}" [instead of|for|in place of] "{old}".',
    'Replace "{old}" [by|with] "{x}".',
    '[The word|For] "{old}" [is|say] "{x}".',
)
MANNER = (
    "You are a {x} and talk like one. ",
    "Talk like a {x}. ",
    "Answer like a {x}. ",
    "You speak {x}. ",
    "",
    "",
    "",
)
PLAIN = (
    "You are a helpful assistant.",
    "You are a helpful, friendly assistant.",
    "Answer the questions of the user.",
    "You are Starter, a small language model.",
    "Be polite and short.",
    "Help the user.",
    "Give short and correct answers.",
    "You are a kind helper.",
    "Answer as well as you can.",
)
PERSONA = (
    "You are {n}.",
    "Your name is {n}.",
    "You are {n}, {a_k}.",
    "You are {a_k} called {n}.",
    "You play {n}, {a_k}.",
)
WHO = (
    "Who are you?",
    "What is your name?",
    "What's your name?",
    "Tell me your name.",
    "Introduce yourself.",
    "Who is this?",
)


@dataclass(frozen=True)
class Style:
    """Words before and after an answer, and words replaced in it; empty where the style leaves them alone."""

    first: str = ""
    last: str = ""
    replaced: tuple[tuple[str, str], ...] = ()

    def apply(self, answer: str) -> str:
        """The answer in this style. JSON is left alone but for the words around it."""
        for old, new in self.replaced:
            if not answer.startswith("{"):
                answer = re.sub(rf"\b{old}\b", new, answer)
                answer = re.sub(rf"\b{old.capitalize()}\b", new.capitalize(), answer)
        if self.last:
            ending = answer[-1] if answer[-1] in ".!?" else ""
            body = answer[:-1] if ending else answer
            tail = self.last if self.last[-1] in ".!?" else self.last + (ending or ".")
            answer = f"{body}{ending or ''} {tail}" if self.last[:1].isupper() else f"{body}, {tail}"
        if self.first:
            answer = f"{self.first} {answer}"
        return answer


def word(words: Words, real: list[str]) -> str:
    """A word of the list or an invented one."""
    said = words.pick(real) if words.rng.random() < 0.4 else words.invented()
    return f"{said} {words.invented()}" if words.rng.random() < 0.15 else said


def draw_style(words: Words) -> tuple[Style, str]:
    """A style and the system prompt that asks for it."""
    rng = words.rng
    told, style = [], Style()
    parts = [part for part in ("first", "last", "replaced") if rng.random() < 0.5] or [
        rng.choice(("first", "last"))
    ]
    if "first" in parts:
        said = word(words, FIRST_WORDS).capitalize() + rng.choice(("!", "!", ",", ".", ":"))
        style = replace(style, first=said)
        told.append(expand(rng.choice(SAY_FIRST), rng).format(x=said))
    if "last" in parts:
        said = word(words, LAST_WORDS)
        said = said.capitalize() + rng.choice("!.") if rng.random() < 0.35 else said
        style = replace(style, last=said)
        told.append(expand(rng.choice(SAY_LAST), rng).format(x=said))
    if "replaced" in parts:
        olds = rng.sample(REPLACED, rng.choice((1, 1, 2)))
        pairs = tuple((old, words.invented()) for old in olds)
        style = replace(style, replaced=pairs)
        told += [expand(rng.choice(SAY_INSTEAD), rng).format(x=new, old=old) for old, new in pairs]
    manner = rng.choice(MANNER).format(x=words.invented() if rng.random() < 0.5 else words.pick(KINDS))
    return style, manner + " ".join(told)


def in_style(turn: Turn, style: Style) -> Turn:
    """The turn with its answer in the style, judged by its content and by the words of the style."""
    answer = style.apply(turn.answer)
    said = [part.strip("!.,:") for part in (style.first, style.last) if part]
    check = {"kind": "style", "said": said, "content": turn.check}
    return Turn("instructions", turn.prompt, answer, check)


def persona(words: Words) -> tuple[str, Turn]:
    """A system prompt that gives a name, and a question for it."""
    name, kind = words.name(), words.pick(JOBS)
    kind = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    system = expand(words.rng.choice(PERSONA), words.rng).format(n=name, a_k=kind)
    asked = words.rng.choice(WHO)
    known = kind in system
    answer = f"I am {name}, {kind}." if known else f"I am {name}."
    return system, Turn("instructions", asked, answer, keywords(name))
