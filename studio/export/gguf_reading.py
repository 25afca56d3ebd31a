"""Whether llama.cpp reads text by a file's pieces as the model's own tokenizer reads it, and with which space
in front.

Tokenizers of this kind differ in where a space goes in front of text: everywhere (llama.cpp's
`add_space_prefix`), only at the very beginning, or only where there is none yet. What a model is asked are
conversations, so those have to come out the same; where the beginning alone gets a space, the chat template
in the file writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

from gguf import TokenType
from tokenizers import Tokenizer

from studio.data.render import Renderer
from studio.data.rows import Message
from studio.errors import StudioError
from studio.export.gguf_pieces import MARKED, SPACE, Pieces

TEXTS = (
    "Hello, how are you today?",
    "naïve café, Zürich, Ærø, ǅ",
    "cafe\u0301 with a mark of its own, \ufb01 and \uff21",
    "1234567890 12 345.678,90 3x4",
    "emoji 🙂👍🏽 and 👩‍👩‍👧",
    "  two spaces before,   three within, and after  ",
    " one before and one after ",
    "tab\tand\n\nnew lines\r\n \n  end\n",
    "\nfirst a line",
    "def f(x):\n    return x**2  # (a_b) [c] {d}",
    "日本語のテキスト、中文字符。한국어",
    "مرحبا بالعالم 123",
    "½ ² Ⅷ ٣٤ ४५ a\u00a0no-break\u2003em\u200bzero",
    "!!! ... --- ??? @#$%^&* <0x41> ▁ ▁▁",
    "It's WE'LL they'D 'quoted'",
)
_CANDIDATES = ((True, ""), (False, ""), (False, " "))
_STRIDE = 7919  # a prime: the pieces that follow others in the check are from all over the vocabulary
_SHOWN = 40


@dataclass(frozen=True)
class Reading:
    """Pieces with the space in front decided; `lead`: what the chat template writes before all else."""

    pieces: Pieces
    lead: str


def reading(
    pieces: Pieces, tokenizer: Tokenizer, renderer: Renderer, prompts: Sequence[Sequence[int]]
) -> Reading:
    """The way in which llama.cpp makes the model's own ids of conversations; of several the one that fits
    plain text best. `prompts`: ids of what the model was asked.

    Raises StudioError `export_tokenizer_differs` (text) where there is none, or where words themselves
    are cut otherwise.
    """
    for text in _cut_otherwise(pieces, tokenizer, prompts):
        raise StudioError("export_tokenizer_differs", text=text[:_SHOWN])
    own = cache(renderer.encode_text)
    named = [(text, talk) for text in _named(pieces) for talk in _conversations(renderer, text)]
    for text, talk in named:
        if pieces.marked(pieces.ids(talk)) != pieces.marked(own(talk)):
            raise StudioError("export_tokenizer_differs", text=text[:_SHOWN])
    talks = [(text, talk) for text in TEXTS for talk in _conversations(renderer, text)]
    fits, first = [], ""
    for prefix, lead in _CANDIDATES:
        tried = replace(pieces, prefix=prefix)
        off = next((text for text, talk in talks if tried.ids(lead + talk) != own(talk)), None)
        first = first or off or ""
        if off is None:
            fits.append((sum(tried.ids(text) == own(text) for text in TEXTS), Reading(tried, lead)))
    if not fits:
        raise StudioError("export_tokenizer_differs", text=first[:_SHOWN])
    return max(fits, key=lambda fit: fit[0])[1]


def _cut_otherwise(pieces: Pieces, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]]) -> Iterator[str]:
    """Texts that are cut into other pieces: each piece by itself and before another, and what is asked."""
    words = tokenizer.model
    pairs = zip(pieces.tokens, pieces.types, strict=True)
    normal = [token for token, type in pairs if type == TokenType.NORMAL]
    followed = (token + normal[i * _STRIDE % len(normal)] for i, token in enumerate(normal))
    asked = (text.replace(" ", SPACE) for prompt in prompts for text in pieces.texts(prompt))
    for text in chain(normal, followed, asked):
        if [found.id for found in words.tokenize(text)] != pieces.cut(text):
            yield text


def _named(pieces: Pieces) -> Iterator[str]:
    """Texts with each special token in them."""
    for token, type in zip(pieces.tokens, pieces.types, strict=True):
        if type in MARKED:
            yield f"a {token} b{token}c"


def _conversations(renderer: Renderer, text: str) -> Iterator[str]:
    """Conversations about a text, as the template writes them; without those that it refuses."""
    user, assistant = Message.of("user", text), Message.of("assistant", text)
    for talk in ([user], [user, assistant, user], [Message.of("system", text), user]):
        try:
            yield renderer.template.render(talk, add_generation_prompt=True)
        except StudioError:
            continue
