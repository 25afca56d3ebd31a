"""Tiny model folders with a vocabulary of SentencePiece's kind, as Llama 2's and Mistral 7B's are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.toys.folders import write_model

PIECES = 640
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
"""Llama 2's and Mistral's: text right behind the begin token, and no role but these."""
ROLES = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""TinyLlama's and Zephyr's: it begins with text, and no role is a special token."""
_SPECIAL = ("<unk>", "<s>", "</s>")
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def piece_tokenizer(texts: Iterable[str], size: int = PIECES) -> Tokenizer:
    """A BPE with byte pieces, learned from `texts` cut at spaces; text is prepared as Llama 2's file says."""
    learned = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[*_SPECIAL, *_BYTES], show_progress=False)
    learned.train_from_iterator((text.replace("\n", " ") for text in texts), trainer)
    body = json.loads(learned.to_str())
    body["added_tokens"] = []  # byte pieces are ordinary ones
    tokenizer = Tokenizer.from_str(json.dumps(body))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def write_pieces_model(
    folder: Path, tokenizer: Tokenizer, template: str = INST, family: str = "llama", **config: Any
) -> Path:
    """A random model with this tokenizer. `config` goes into tokenizer_config.json: with a `tokenizer_class`
    transformers builds the tokenizer anew."""
    facts = {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": None}
    write_model(folder, family, vocab_size=tokenizer.get_vocab_size(), **facts)
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": template,
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")
    return folder
