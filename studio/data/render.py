"""Rows -> token ids with labels, and token ids -> text: one renderer for the screen and for the worker.

No torch and no transformers; token for token equal to transformers' `apply_chat_template`. Labels come from
the `learned` marks of a row, never from comparing ids with the padding id: with pad = eos the end of a turn
is learned all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tokenizers import Encoding

from studio.data.detokenize import Detokenizer, piece_bytes
from studio.data.rows import Message, Stream
from studio.data.template import FALLBACK, ChatTemplate
from studio.data.tokenizer_files import TokenizerFiles, read_json, read_tokenizer
from studio.errors import Reason, StudioError
from studio.identity import file_sha256, json_hash

_BATCH = 512
_FACTS_FILE = "renderer.json"


@dataclass(frozen=True)
class Encoded:
    """`ids` and `learned` have one entry per token; `truncated`: tokens beyond the longest length were cut
    off."""

    ids: list[int]
    learned: list[bool]
    truncated: bool


@dataclass(frozen=True)
class Tokenised:
    """An encoded stream with its text; `offsets[i]` is token i's (start, end) in characters of `text`."""

    encoded: Encoded
    text: str
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class _Layout:
    """Text to tokenise, the learned spans in it, and ids to put around it."""

    text: str
    learned: list[tuple[int, int]]
    before: list[int]
    after: list[int]


class Renderer:
    """A tokenizer with its chat template, as a model's folder or a run's folder has them."""

    def __init__(self, files: TokenizerFiles, facts: dict[str, Any]) -> None:
        """`facts`: what `save` wrote into renderer.json, {} for a model's folder."""
        self._files = files
        self._tokenizer = files.tokenizer
        self._fixed_now = facts.get("now")
        now = datetime.fromisoformat(self._fixed_now) if self._fixed_now else datetime.now()
        self.bos_id = files.id_of("bos_token")
        self.eos_id = files.id_of("eos_token")
        if self.eos_id is None and files.end_ids:
            self.eos_id = files.end_ids[0]
        pad = files.id_of("pad_token")
        self.pad_id: int = next((i for i in (pad, self.eos_id) if i is not None), 0)
        notes: list[Reason] = []
        special = dict(files.special_tokens)
        template = files.template
        if template is None:
            template = FALLBACK
            notes.append(Reason("template_fallback"))
            if "eos_token" not in special and self.eos_id is not None:
                special["eos_token"] = self._tokenizer.id_to_token(self.eos_id) or ""
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_ids = frozenset(i for i, token in added.items() if token.special)
        every_special = [added[i].content for i in self._special_ids] + list(special.values())
        self.template = ChatTemplate(template, special, every_special, now)
        if not self._fixed_now and "strftime_now" in template:
            self._fixed_now = now.isoformat()  # the date a run was started on stays in its prompts
        notes += self.template.notes
        self.notes: tuple[Reason, ...] = tuple(notes)
        if "notes" in facts:
            self.notes = tuple(Reason(note["code"], note["facts"]) for note in facts["notes"])
        self.stop_ids: frozenset[int] = frozenset(facts.get("stop_ids", self._all_stop_ids()))

    @classmethod
    def from_folder(cls, folder: Path, *, converted: Path | None = None) -> Renderer:
        """Read a model's folder or what `save` wrote; a slow tokenizer's fast form is kept under `converted`.

        Raises StudioError `tokenizer_missing`, `tokenizer_unreadable`, `tokenizer_unconvertible`,
        `template_broken`.
        """
        return cls(read_tokenizer(folder, converted), read_json(folder / _FACTS_FILE))

    @classmethod
    def of_run(cls, folder: Path, model: Path, *, converted: Path | None = None) -> Renderer:
        """What a run keeps in `folder`, which gets its copy from the model where it is not there yet.

        Raises what `from_folder` does.
        """
        if not folder.is_dir():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            cls.from_folder(model, converted=converted).save(partial)
            partial.rename(folder)
        return cls.from_folder(folder)

    def _all_stop_ids(self) -> set[int]:
        """What the model's configuration names, and the token that its template closes a turn with: base
        models often have a chat template but name only the end of text."""
        ids = set(self._files.end_ids)
        end_token = self.template.end_token
        named = (self.eos_id, self._tokenizer.token_to_id(end_token) if end_token else None)
        return ids | {i for i in named if i is not None}

    @property
    def template_text(self) -> str:
        return self.template.text

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, stream: Stream, max_length: int | None = None) -> Encoded:
        """Ids and labels of one stream, cut at `max_length` tokens.

        Raises StudioError `template_refused` or `template_unclear` (detail).
        """
        return self.tokenise(stream, max_length).encoded

    def tokenise(self, stream: Stream, max_length: int | None = None) -> Tokenised:
        """Like `encode`, with the text and the place of each token in it."""
        layout = self._lay_out(stream)
        encoding = self._tokenizer.encode(layout.text, add_special_tokens=False)
        encoded = _finish(layout, encoding, self._special_ids, max_length)
        end = len(layout.text)
        offsets = [(0, 0)] * len(layout.before) + encoding.offsets + [(end, end)] * len(layout.after)
        return Tokenised(encoded, layout.text, offsets[: len(encoded.ids)])

    def encode_many(
        self, streams: Sequence[Stream], max_length: int | None = None
    ) -> Iterator[Encoded | StudioError]:
        """`encode` for many streams on all cores; a stream that the template refuses gives its error in
        place."""
        for start in range(0, len(streams), _BATCH):
            layouts = [self._lay_out_or_error(stream) for stream in streams[start : start + _BATCH]]
            texts = [layout.text for layout in layouts if isinstance(layout, _Layout)]
            encodings = iter(self._tokenizer.encode_batch(texts, add_special_tokens=False))
            for layout in layouts:
                if isinstance(layout, _Layout):
                    yield _finish(layout, next(encodings), self._special_ids, max_length)
                else:
                    yield layout

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that asks for the next answer. Raises StudioError `template_refused`."""
        return self.encode_text(self.template.render(messages, add_generation_prompt=True))

    def encode_text(self, text: str) -> list[int]:
        """Ids of text as it is, nothing added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_start(self, text: str) -> list[int]:
        """Ids of plain text that is to be continued: a begin token first, if the tokenizer wants one."""
        begin = [self.bos_id] if self._files.adds_bos and self.bos_id is not None else []
        return begin + self.encode_text(text)

    def spell(self, id: int) -> tuple[str, bytes | None]:
        """Text of one token as it stands inside a text, special tokens by their name, and its bytes; None for
        a part of a character whose bytes this kind of vocabulary does not show."""
        # By itself a word loses the space before it in some decoders.
        before = self.encode_text("a")
        text = self.decode([*before, id], skip_special=False)[len(self.decode(before)) :]
        if "\ufffd" not in text:
            return text, text.encode()
        return text, piece_bytes(self._tokenizer.id_to_token(id) or "")

    def token_id(self, text: str) -> int | None:
        """The number of the token that `text` is, as the vocabulary or as running text writes it; None if it
        is no single one."""
        number: int | None = self._tokenizer.token_to_id(text)
        if number is not None:
            return number
        ids = self.encode_text(text)
        return ids[0] if len(ids) == 1 else None

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids; what is no UTF-8 becomes U+FFFD."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))

    def is_special(self, token: int) -> bool:
        return token in self._special_ids

    def detokenizer(self, skip_special: bool = True) -> Detokenizer:
        """A decoder for ids that come one by one."""
        return Detokenizer(self._tokenizer, skip_special)

    def _lay_out_or_error(self, stream: Stream) -> _Layout | StudioError:
        try:
            return self._lay_out(stream)
        except StudioError as error:
            return error

    def _lay_out(self, stream: Stream) -> _Layout:
        if all(message.role == "text" for message in stream.messages):
            return self._lay_out_plain(stream)
        conversation = self.template.locate(stream.messages)
        spans = zip(conversation.answers, stream.learned, strict=True)
        return _Layout(conversation.text, [span for span, learned in spans if span and learned], [], [])

    def _lay_out_plain(self, stream: Stream) -> _Layout:
        """Plain text goes past the template: begin token if the tokenizer wants one, text, end token
        (learned)."""
        text = "".join(message.text for message in stream.messages)
        before = [self.bos_id] if self._files.adds_bos and self.bos_id is not None else []
        after = [self.eos_id] if self.eos_id is not None else []
        spans: list[tuple[int, int]] = []
        at = 0
        for message, learned in zip(stream.messages, stream.learned, strict=True):
            if learned:
                spans.append((at, at + len(message.text)))
            at += len(message.text)
        return _Layout(text, spans, before, after if stream.learned[-1] else [])

    def _facts(self) -> dict[str, Any]:
        notes = [{"code": note.code, "facts": dict(note.facts)} for note in self.notes]
        return {"stop_ids": sorted(self.stop_ids), "now": self._fixed_now, "notes": notes}

    def hash(self) -> str:
        """Identity by content: tokenizer, special tokens, template and stop ids."""
        facts = self._facts()
        return json_hash(
            {
                "tokenizer": file_sha256(self._files.path),
                "special_tokens": self._files.special_tokens,
                "template": self.template_text,
                "stop_ids": facts["stop_ids"],
                "now": facts["now"],
            }
        )

    def save(self, folder: Path) -> None:
        """Write everything that rendering needs; `from_folder` on it gives an equal renderer, and so does
        transformers' AutoTokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._files.path, folder / "tokenizer.json")
        # auto_map names code of the model's repository, which does not travel with a run.
        kept = {k: v for k, v in self._files.config.items() if k not in ("chat_template", "auto_map")}
        # This class takes tokenizer.json as it stands; others build it anew by rules of their own.
        kept["tokenizer_class"] = "PreTrainedTokenizerFast"
        _write_json(folder / "tokenizer_config.json", {**kept, **self._files.special_tokens})
        (folder / "chat_template.jinja").write_text(self.template_text, encoding="utf-8", newline="")
        generation = {"eos_token_id": sorted(self.stop_ids), "pad_token_id": self.pad_id}
        if self.bos_id is not None:
            generation["bos_token_id"] = self.bos_id
        _write_json(folder / "generation_config.json", generation)
        _write_json(folder / _FACTS_FILE, self._facts())


def _write_json(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _finish(layout: _Layout, encoding: Encoding, special: frozenset[int], max_length: int | None) -> Encoded:
    ids = [*layout.before, *encoding.ids, *layout.after]
    marks = _mark(encoding, layout.learned, special)
    learned = [False] * len(layout.before) + marks + [True] * len(layout.after)
    limit = len(ids) if max_length is None else max_length
    return Encoded(ids[:limit], learned[:limit], len(ids) > limit)


def _mark(encoding: Encoding, spans: Sequence[tuple[int, int]], special: frozenset[int]) -> list[bool]:
    """One label per token: learned where the token has at least one character in a learned span."""
    count = len(encoding)
    marks = [False] * count
    for start, end in spans:
        first = next((t for c in range(start, end) if (t := encoding.char_to_token(c)) is not None), None)
        if first is None:
            continue
        last = next(t for c in range(end - 1, start - 1, -1) if (t := encoding.char_to_token(c)) is not None)
        stop = last + 1
        # One character may be spelled by several byte tokens, of which char_to_token names the first.
        while stop < count and (place := encoding.token_to_chars(stop)) is not None and place[0] < end:
            stop += 1
        # A role token may swallow the white space that the answer begins with (Phi 3): still no answer.
        opened = encoding.token_to_chars(first)
        if opened is not None and opened[0] < start and encoding.ids[first] in special:
            first += 1
        marks[first:stop] = [True] * (stop - first)
    return marks
