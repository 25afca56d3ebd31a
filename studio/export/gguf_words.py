"""The vocabulary, special tokens and chat template of a model as GGUF says them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from studio.data.render import Renderer
from studio.data.tokenizer_files import TokenizerFiles, read_tokenizer
from studio.errors import StudioError
from studio.export.gguf_pieces import SPACE, missing_byte, pieces_of
from studio.export.gguf_reading import reading

# llama.cpp's names for the ways in which text is cut before it is tokenised, by the expression that cuts, and
# whether a word that is a token as it stands is taken whole (`ignore_merges`), which the name stands for too.
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CUTS = {
    (_LLAMA_3, True): "llama-bpe",
    (_LLAMA_3, False): "smaug-bpe",
    (_LLAMA_3.replace("{1,3}", ""), False): "qwen2",
}


@dataclass(frozen=True)
class Around:
    """What stands around text: `begin`, put before every text by whoever reads the file; `lead`, written by
    the chat template in the file before all that the model's own writes."""

    begin: str
    lead: str


def add_words(
    writer: GGUFWriter,
    folder: Path,
    renderer: Renderer,
    vocabulary: int,
    prompts: Sequence[Sequence[int]] = (),
) -> Around:
    """Add all that turns text into ids and back, and messages into text. `vocabulary`: the rows of the
    embedding, which may be more than there are tokens; `prompts`: ids of what the model was asked.

    Raises StudioError `export_tokenizer_unknown` (path, kind) for what is neither a byte-level BPE, cut in a
    way that has a name, nor one of SentencePiece's kind; `export_tokenizer_differs`.
    """
    files = read_tokenizer(folder)
    body: dict[str, Any] = json.loads(files.tokenizer.to_str())
    if _is_sentencepiece(body):
        lead = _add_pieces(writer, files, body, renderer, vocabulary, prompts)
    else:
        _add_byte_level(writer, files, body, _cut(body, folder), vocabulary)
        lead = ""
    writer.add_vocab_size(vocabulary)
    _add_special(writer, renderer, files.adds_bos)
    written = "{{ '" + lead + "' }}" if lead else ""
    writer.add_chat_template(written + renderer.template_text)
    if not files.adds_bos or renderer.bos_id is None:
        return Around("", lead)
    return Around(renderer.decode([renderer.bos_id], skip_special=False), lead)


def _add_byte_level(
    writer: GGUFWriter, files: TokenizerFiles, body: Mapping[str, Any], cut: str, vocabulary: int
) -> None:
    added = files.tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for id in range(vocabulary):
        text = files.tokenizer.id_to_token(id)
        tokens.append(f"[PAD{id}]" if text is None else text)
        types.append(_type(None if text is None else added.get(id), known=text is not None))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = body["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])


def _add_pieces(
    writer: GGUFWriter,
    files: TokenizerFiles,
    body: Mapping[str, Any],
    renderer: Renderer,
    vocabulary: int,
    prompts: Sequence[Sequence[int]],
) -> str:
    """What the chat template has to write before all else."""
    unknown = files.id_of("unk_token")
    pieces = pieces_of(files.tokenizer, body, unknown, vocabulary)
    if (byte := missing_byte(pieces.tokens)) is not None:
        raise StudioError("export_tokenizer_unknown", path=str(files.path.parent), kind=f"BPE/no {byte}")
    found = reading(pieces, files.tokenizer, renderer, prompts)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces.tokens)
    writer.add_token_scores(pieces.scores)
    writer.add_token_types(pieces.types)
    if unknown is not None:
        writer.add_unk_token_id(unknown)
    writer.add_add_space_prefix(found.pieces.prefix)
    writer.add_add_eos_token(False)  # what asks for an answer never ends with it
    return found.lead


def _is_sentencepiece(body: Mapping[str, Any]) -> bool:
    """Whether it is a BPE over characters with byte pieces, which does no more to text than to write its
    spaces as `▁`, and perhaps one in front."""
    model, normalizer, cut = body["model"], body["normalizer"] or {}, body["pre_tokenizer"] or {}
    if model["type"] != "BPE" or not model.get("byte_fallback"):
        return False
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    changes = normalizer.get("normalizers", [normalizer] if normalizer else [])
    cuts = cut.get("pretokenizers", [cut] if cut else [])
    written = all(change in (replaced, {"type": "Prepend", "prepend": SPACE}) for change in changes)
    spaced = all(step["type"] == "Metaspace" and step["replacement"] == SPACE for step in cuts)
    # Where the spaces are gone already, a cut at them does nothing (Gemma's).
    gone = replaced in changes and all(
        step["type"] == "Split" and step["pattern"] == {"String": " "} for step in cuts
    )
    return written and (gone or (spaced and bool(cuts)))


def _type(added: Any, *, known: bool) -> TokenType:
    if not known:
        return TokenType.UNUSED
    if added is None:
        return TokenType.NORMAL
    return TokenType.CONTROL if added.special else TokenType.USER_DEFINED


def _add_special(writer: GGUFWriter, renderer: Renderer, adds_bos: bool) -> None:
    if renderer.bos_id is not None:
        writer.add_bos_token_id(renderer.bos_id)
    if renderer.eos_id is not None:
        writer.add_eos_token_id(renderer.eos_id)
    others = sorted(renderer.stop_ids - {renderer.eos_id})
    if others:
        writer.add_eot_token_id(others[0])
    writer.add_pad_token_id(renderer.pad_id)
    writer.add_add_bos_token(adds_bos)


def _cut(body: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name for how this tokenizer cuts text into words."""
    model, cut, normalizer = body["model"], body["pre_tokenizer"] or {}, body["normalizer"] or {}
    steps = cut.get("pretokenizers") or [cut]
    kinds = [step.get("type") for step in steps]
    whole, prefixed = bool(model.get("ignore_merges")), bool(steps[-1].get("add_prefix_space"))
    # llama.cpp normalises nothing: what NFC changes (accents that stand by themselves) it reads otherwise,
    # what the others change is in every text.
    known = normalizer.get("type") in (None, "NFC") and model["type"] == "BPE" and kinds[-1] == "ByteLevel"
    if known and not model.get("byte_fallback") and not prefixed:
        if kinds == ["ByteLevel"] and cut["use_regex"] and not whole:
            return "gpt-2"
        digits = kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]
        if digits and steps[1]["use_regex"] and not whole:
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not steps[1]["use_regex"]:
            name = _CUTS.get((steps[0]["pattern"].get("Regex", ""), whole))
            if name is not None:
                return name
    flags = [name for name, on in (("ignore_merges", whole), ("add_prefix_space", prefixed)) if on]
    kind = "/".join(map(str, [normalizer.get("type"), model["type"], *kinds, *flags]))
    raise StudioError("export_tokenizer_unknown", path=str(folder), kind=kind)
