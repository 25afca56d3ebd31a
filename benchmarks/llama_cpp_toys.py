"""Small random models for each kind of vocabulary that GGUF is written for, for `benchmarks.llama_cpp`.

The tokenizers are learned here from the samples' words, and cut text as the published ones do; STRINGS are
what cutting is known to fail at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from benchmarks.samples import SAMPLES, held_out
from tests.toys.folders import SPECIAL, TEMPLATE, write_model
from tests.toys.pieces import INST, ROLES, piece_tokenizer, write_pieces_model

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
BEGIN = "<|begin|>"
VOCABULARY = 640

STRINGS = [
    "It's 7 + 5, isn't it? WE'LL see, they'D say.",
    "1234567890 12 345.678,90 3x4",
    "  two spaces before,   three within, and after  ",
    "tab\tand\n\nnew lines\r\n \n  end\n",
    "naïve café, Zürich, Ærø, ǅ",
    "cafe\u0301 with a mark of its own",
    "日本語のテキスト、中文字符。한국어",
    "مرحبا بالعالم 123",
    "emoji 🙂👍🏽 and 👩‍👩‍👧 ",
    "def f(x):\n    return x**2  # (a_b) [c] {d}",
    "½ ² Ⅷ ٣٤ ४५",
    "a\u00a0no-break\u2003em\u200bzero",
    "!!! ... --- ??? @#$%^&*",
    "'s 'S 't I'M y'all 'quoted'",
    "<|user|>a role<|end|>",
    "",
]


@dataclass(frozen=True)
class Toy:
    """A family with a way to cut text. `begins`: the tokenizer puts a begin token in front; `whole`: it takes
    a word that is a token as it stands, whatever the merges say (`ignore_merges`). Llama 3's does both."""

    family: str
    cut: Any
    normalizer: Any = None
    begins: bool = False
    whole: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


def _split(expression: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _plain() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


_LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
TOYS = {
    "Llama, GPT-2's words": Toy("llama", _plain()),
    "Llama, SmolLM's words": Toy(
        "llama",
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _plain()]),
    ),
    "Llama, Llama 3's words and positions": Toy(
        "llama",
        _split(LLAMA_3),
        begins=True,
        whole=True,
        changes={"rope_parameters": _LLAMA_3_ROPE, "head_dim": 16},
    ),
    "Mistral, Llama 3's words": Toy(
        "mistral", _split(LLAMA_3), begins=True, whole=True, changes={"sliding_window": None}
    ),
    "Llama, Llama 3's words, always merged": Toy("llama", _split(LLAMA_3), begins=True),
    "Qwen 2, Qwen's words": Toy("qwen2", _split(QWEN_2), normalizers.NFC()),
    "Qwen 3, Qwen's words": Toy("qwen3", _split(QWEN_2), normalizers.NFC(), changes={"head_dim": 128}),
}


@dataclass(frozen=True)
class PieceToy:
    """A family with a vocabulary of SentencePiece's kind. `spaces`: where one goes in front of text, None: as
    Llama 2's tokenizer.json says, else a way of `Metaspace`, as transformers 5 reads such files anew."""

    family: str
    template: str
    spaces: str | None = None


_WORDS = [text for sample in SAMPLES for row in held_out(sample) for text in row]
PIECE_TOYS = {
    "Llama, Llama 2's pieces": PieceToy("llama", INST),
    "Llama, Llama 2's pieces, a space at the beginning": PieceToy("llama", INST, "first"),
    "Llama, Llama 2's pieces, TinyLlama's template": PieceToy("llama", ROLES, "first"),
    "Mistral, Mistral 7B's pieces": PieceToy("mistral", INST, "always"),
}


def write_toy(folder: Path, toy: Toy | PieceToy) -> Path:
    """Write its folder: a random model of hidden size 32, with a vocabulary learned from the samples."""
    if isinstance(toy, PieceToy):
        tokenizer = piece_tokenizer(_WORDS, VOCABULARY)
        if toy.spaces is not None:
            tokenizer.normalizer = None
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", toy.spaces, split=False)
        return write_pieces_model(folder, tokenizer, toy.template, toy.family)
    special = [*SPECIAL, BEGIN] if toy.begins else list(SPECIAL)
    changes = {"vocab_size": VOCABULARY, **toy.changes}
    if toy.begins:
        changes["bos_token_id"] = special.index(BEGIN)
    write_model(folder, toy.family, **changes)
    tokenizer = Tokenizer(models.BPE(ignore_merges=toy.whole))
    tokenizer.pre_tokenizer, tokenizer.decoder = toy.cut, decoders.ByteLevel()
    if toy.normalizer is not None:
        tokenizer.normalizer = toy.normalizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*_WORDS, *STRINGS], trainer)
    facts = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if toy.begins:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, special.index(BEGIN))]
        )
        facts |= {"bos_token": BEGIN, "chat_template": "{{ bos_token }}" + TEMPLATE}
    body = json.loads(tokenizer.to_str())
    # Words that no merges lead to any more tell apart who takes words whole.
    body["model"]["merges"] = body["model"]["merges"][: len(body["model"]["merges"]) // 2]
    (folder / "tokenizer.json").write_text(json.dumps(body), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder
