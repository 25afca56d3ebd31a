"""The vocabulary, special tokens and chat template of a model as GGUF says them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from studio.data.render import Renderer
from studio.data.tokenizer_files import read_tokenizer
from studio.errors import StudioError

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


def add_words(writer: GGUFWriter, folder: Path, renderer: Renderer, vocabulary: int) -> str:
    """Add all that turns text into ids and back, and messages into text; what the file has put before every
    text. `vocabulary`: the rows of the embedding, which may be more than there are tokens.

    Raises StudioError `export_tokenizer_unknown` (path, kind) for what is no byte-level BPE, or cuts text in
    a way that has no name.
    """
    files = read_tokenizer(folder)
    body: dict[str, Any] = json.loads(files.tokenizer.to_str())
    cut = _cut(body, folder)
    added = files.tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for id in range(vocabulary):
        text = files.tokenizer.id_to_token(id)
        tokens.append(f"[PAD{id}]" if text is None else text)
        types.append(_type(None if text is None else added.get(id), known=text is not None))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_vocab_size(vocabulary)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = body["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    _add_special(writer, renderer, files.adds_bos)
    writer.add_chat_template(renderer.template_text)
    if not files.adds_bos or renderer.bos_id is None:
        return ""
    return renderer.decode([renderer.bos_id], skip_special=False)


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
