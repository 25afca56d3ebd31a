"""Rows as the model will read them: text in whole characters, each piece learned or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.data.render import Renderer, Tokenised
from studio.data.rows import Row, Stream
from studio.errors import StudioError


@dataclass(frozen=True)
class Piece:
    """The text of one token, or of several that spell one character together. `text` of an end token that
    plain text gets is the token's own name."""

    text: str
    learned: bool


@dataclass(frozen=True)
class StreamPreview:
    """`error` is set, and everything else empty, where the template refuses the row."""

    pieces: tuple[Piece, ...]
    tokens: int
    learned_tokens: int
    truncated: bool
    error: StudioError | None = None


@dataclass(frozen=True)
class RowPreview:
    id: str
    source: str
    row: int  # number in its file
    streams: dict[str, StreamPreview]


def preview(rows: Sequence[Row], renderer: Renderer, max_length: int | None = None) -> list[RowPreview]:
    """Each row cut at `max_length` tokens, in pieces whose texts join to what the model reads."""
    return [
        RowPreview(
            row.id,
            row.source,
            int(row.source.rpartition(":")[2]),
            {name: _preview_stream(stream, renderer, max_length) for name, stream in row.streams.items()},
        )
        for row in rows
    ]


def _preview_stream(stream: Stream, renderer: Renderer, max_length: int | None) -> StreamPreview:
    try:
        tokenised = renderer.tokenise(stream, max_length)
    except StudioError as error:
        return StreamPreview((), 0, 0, False, error)
    encoded = tokenised.encoded
    pieces = tuple(_pieces(tokenised, renderer))
    return StreamPreview(pieces, len(encoded.ids), sum(encoded.learned), encoded.truncated)


def _pieces(tokenised: Tokenised, renderer: Renderer) -> list[Piece]:
    """Walk over the text from token to token; tokens that begin inside the piece before them join it."""
    ids, learned, offsets = tokenised.encoded.ids, tokenised.encoded.learned, tokenised.offsets
    pieces: list[Piece] = []
    told = 0
    for place, (start, end) in enumerate(offsets):
        if start == end and renderer.is_special(ids[place]):
            pieces.append(Piece(renderer.decode([ids[place]], skip_special=False), learned[place]))
        elif end > told:
            pieces.append(Piece(tokenised.text[told:end], learned[place]))
            told = end
        elif pieces and learned[place] and not pieces[-1].learned:
            pieces[-1] = Piece(pieces[-1].text, True)
    return pieces
