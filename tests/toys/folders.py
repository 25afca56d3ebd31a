"""Tiny model and run folders, made by the tests that use them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from studio.data.rows import Message, Row, Stream, write_rows
from studio.plan import Plan, parse_request

SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCAB = 260
_SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "tie_word_embeddings": True,
}
_GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "eos_token_id": 1,
    "bos_token_id": None,
}
_FALCON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "multi_query": True,
    "alibi": False,
    "eos_token_id": 1,
    "bos_token_id": 1,
}
_OWN_NAMES = {"gpt2": _GPT2, "falcon": _FALCON, "gptj": {**_GPT2, "rotary_dim": 4}}
# What differs from `_SMALL`. Softcap and scales are strong enough to show if they are forgotten.
FAMILY_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "mistral": {"sliding_window": 16},
    "qwen2": {},
    "qwen3": {},
    "phi3": {},
    "gemma2": {"final_logit_softcapping": 2.0, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3_text": {"final_logit_softcapping": 2.0, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True},
    "gpt2": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "do_layer_norm_before": True, "bos_token_id": 1},
    "gpt_neox": {"rotary_pct": 0.5, "tie_word_embeddings": False},
    "falcon": {},
}
# Decoders of families that the studio has no line for.
OTHER_CONFIGS: dict[str, dict[str, Any]] = {
    "olmo2": {},
    "stablelm": {},
    "starcoder2": {"sliding_window": None},
    "bloom": {"n_layer": 2, "n_head": 4},
    "gptj": {},
}
# Of one nothing is known but its weights, one can't be taken apart, one has a router that is a linear layer,
# and one experts beside an MLP.
STRANGE_CONFIGS: dict[str, dict[str, Any]] = {
    "youtu": {},
    "hrm_text": {},
    "llama4_text": {},
    "ernie4_5_moe": {"bos_token_id": 1, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 0},
}


def tiny_model(family: str = "llama", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model of a family, hidden size 32, two layers, weights large enough for uneven logits."""
    base = _OWN_NAMES.get(family) or {**_SMALL, **(FAMILY_CONFIGS | OTHER_CONFIGS | STRANGE_CONFIGS)[family]}
    config = AutoConfig.for_model(family, **{**base, **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.2)
    return model.eval()


def write_model(folder: Path, family: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """`tiny_model` as a folder, with a tokenizer of single bytes and a chat template."""
    tiny_model(family, seed, **changes).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def chat_row(i: int, question: str, answer: str) -> Row:
    """A row of one question and one answer, the answer learned."""
    messages = (Message.of("user", question), Message.of("assistant", answer))
    return Row(str(i), {"text": Stream(messages, (False, True))}, {}, f"test:{i}")


def sums(n: int, start: int = 0) -> list[Row]:
    """Rows of different lengths: small sums in words."""
    return [
        chat_row(i, f"{i} and {i * 7 % 11}?" + " please" * (i % 4), f"it is {i + i * 7 % 11}" + "!" * (i % 3))
        for i in range(start, start + n)
    ]


def write_run(folder: Path, rows: Sequence[Row], heldout: Sequence[Row] = ()) -> Path:
    """A run folder as the facade freezes it."""
    folder.mkdir(parents=True)
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "heldout.jsonl", heldout)
    return folder


def tiny_plan(method: str = "lora", objective: str = "sft", **settings: Any) -> Plan:
    """A resolved plan: fp32, batch 4, 12 steps, unless said otherwise."""
    base = {"batch": 4, "seq": 64, "lr": 0.01, "precision": "fp32", "adapter_dtype": "fp32"}
    length = {} if "epochs" in settings else {"steps": 12}
    return parse_request("path:tiny", "sums", method, objective, set={**base, **length, **settings})
