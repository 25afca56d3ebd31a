"""A model's folder -> tokenizer, special tokens, chat template text and stop ids, read without transformers.

The same rules as transformers 5: special tokens named in tokenizer_config.json that tokenizer.json lacks are
added; a file chat_template.jinja wins over an entry in tokenizer_config.json; of several named templates the
one called `default` counts."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from studio.errors import StudioError
from studio.identity import json_hash

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SLOW_FILES = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)
_CONVERSION_SECONDS = 300


@dataclass(frozen=True)
class TokenizerFiles:
    """`config` is tokenizer_config.json; `special_tokens` maps names (`eos_token`) to text; `template` None:
    the model brings none; `end_ids` are the stop ids that the model's configuration names; `adds_bos`: plain
    text gets the begin token in front."""

    path: Path  # of tokenizer.json
    tokenizer: Tokenizer
    config: dict[str, Any]
    special_tokens: dict[str, str]
    template: str | None
    end_ids: tuple[int, ...]
    adds_bos: bool
    scratch: tempfile.TemporaryDirectory[str] | None = None  # holds the converted files while this lives

    def id_of(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        found: int | None = self.tokenizer.token_to_id(token) if token is not None else None
        return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model's folder, {} where there is no such file.

    Raises StudioError `tokenizer_unreadable`.
    """
    if not path.is_file():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudioError("tokenizer_unreadable", path=str(path), detail=str(error)) from error
    if not isinstance(body, dict):
        raise StudioError("tokenizer_unreadable", path=str(path), detail="not a JSON object")
    return body


def read_tokenizer(folder: Path, converted: Path | None = None) -> TokenizerFiles:
    """Read a model's folder. What transformers would not take from tokenizer.json as it stands is converted
    by it once, into a folder under `converted` (without one: for as long as the result lives).

    Raises StudioError `tokenizer_missing`, `tokenizer_unreadable`, `tokenizer_unconvertible`.
    """
    fast = folder / "tokenizer.json"
    sources = [folder / name for name in _SLOW_FILES if (folder / name).is_file()]
    if fast.is_file():
        files = _read_fast(folder)
        if not _is_rebuilt(files):
            return files
        sources = [fast, folder / "tokenizer_config.json"]
    if not sources:
        raise StudioError("tokenizer_missing", path=str(folder))
    if converted is None:
        scratch = tempfile.TemporaryDirectory()
        _convert(folder, Path(scratch.name))
        return replace(_read_fast(Path(scratch.name)), scratch=scratch)
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in sources]
    kept = converted / json_hash(stats)[:16]
    if not (kept / "tokenizer.json").is_file():
        _convert(folder, kept)
    return _read_fast(kept)


def _is_rebuilt(files: TokenizerFiles) -> bool:
    """Does transformers 5 build this tokenizer anew from its vocabulary, and otherwise than tokenizer.json
    says? So it does with Llama's SentencePiece ones (Llama 2, TinyLlama): other rules for the space in front
    of words."""
    named = str(files.config.get("tokenizer_class")).removesuffix("Fast")
    return named == "LlamaTokenizer" and "ByteLevel" not in repr(files.tokenizer.pre_tokenizer)


def _read_fast(folder: Path) -> TokenizerFiles:
    path = folder / "tokenizer.json"
    config = read_json(folder / "tokenizer_config.json")
    named = {name: config.get(name) for name in _NAMED}
    if "added_tokens_decoder" not in config:
        named.update({k: v for k, v in read_json(folder / "special_tokens_map.json").items() if k in _NAMED})
    special = {name: text for name, value in named.items() if (text := _content(value)) is not None}
    try:
        tokenizer = Tokenizer.from_file(str(path))
        _add_missing(tokenizer, config, special.values())
        template = _template(folder, config)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise StudioError("tokenizer_unreadable", path=str(folder), detail=str(error)) from error
    except Exception as error:
        if type(error) is not Exception:  # what the tokenizers library raises is Exception itself
            raise
        raise StudioError("tokenizer_unreadable", path=str(path), detail=str(error)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bos = tokenizer.token_to_id(special["bos_token"]) if "bos_token" in special else None
    adds_bos = bos is not None and bos in tokenizer.encode("a", add_special_tokens=True).ids[:1]
    # Offsets then tell the truth about white space (GPT-2's post-processor trims it), and special tokens are
    # only added where this package adds them.
    tokenizer.post_processor = None
    return TokenizerFiles(path, tokenizer, config, special, template, _end_ids(folder), adds_bos)


def _content(token: Any) -> str | None:
    """The text of a special token: a string, or the dict of an added token."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _add_missing(tokenizer: Tokenizer, config: Mapping[str, Any], special: Iterable[str]) -> None:
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    listed = sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0]))
    fields = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = [AddedToken(**{k: v for k, v in token.items() if k in fields}) for _, token in listed]
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    texts = [*special, *(_content(t) for t in (extra.values() if isinstance(extra, Mapping) else extra))]
    tokens += [AddedToken(text, special=True) for text in texts if text is not None]
    for token in tokens:
        if token.content not in known:
            known.add(token.content)
            (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else None


def _end_ids(folder: Path) -> tuple[int, ...]:
    """End ids by the model's own word: generation_config.json, else config.json (or its text part)."""
    model = read_json(folder / "config.json")
    for body in (read_json(folder / "generation_config.json"), model, model.get("text_config", {})):
        ids = body.get("eos_token_id")
        if ids is not None:
            return tuple(ids) if isinstance(ids, list) else (ids,)
    return ()


def _convert(folder: Path, out: Path) -> None:
    """Run the conversion in a process of its own, since it needs transformers."""
    command = [sys.executable, "-m", "studio.data.convert_tokenizer", str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CONVERSION_SECONDS, check=False)
    if done.returncode != 0 or not (out / "tokenizer.json").is_file():
        lines = done.stderr.strip().splitlines()
        raise StudioError("tokenizer_unconvertible", path=str(folder), detail=lines[-1] if lines else "")
