"""Tiny tokenizers and chat templates in the style of the well-known model families, written for the tests."""

# ruff: noqa: E501 - a template is easier to read on its own lines than folded

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = (
    "User asks and the assistant answers: what is the capital of France? Paris. Hello there, how are you today? "
    "I'm fine, thank you! 12 + 34 = 46. The crêpe costs 5 €. Système, naïve, привет, 你好, 😀 <think> </think>\n\n"
)

# Like Llama 3's: line ends never join the word behind them.
_LINES_APART = r"\s*[\r\n]+| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+"

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

CHATML_MARKED = """\
{% for message in messages %}
{% if message['role'] == 'assistant' %}
<|im_start|>assistant
{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}

{% else %}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""

LLAMA3 = """\
{%- if strftime_now is defined %}{%- set today = strftime_now('%d %b %Y') %}{%- endif %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set system_text = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_text = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + today + '\\n\\n' + system_text + '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Roles must take turns user/assistant') }}{% endif %}\
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

PHI3 = """\
{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '<|end|>\\n' }}\
{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}\
{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

MISTRAL = """\
{%- if messages[0]['role'] == 'system' %}{%- set system_text = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}
{%- if message['role'] == 'user' %}
{%- if loop.first and system_text is defined %}{{- '[INST] ' + system_text + '\\n\\n' + message['content'] + '[/INST]' }}
{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}
{%- else %}{{- ' ' + message['content'] + eos_token }}{%- endif %}
{%- endfor %}"""

QWEN3 = """\
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}{%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set content = message.content %}{%- set thought = '' %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > ns.last and (loop.last or thought) %}
{{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{%- else %}{{- '<|im_start|>assistant\\n' + content }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

STARTER = """\
{% for message in messages %}
{% if message['role'] == 'system' %}<|system|>{{ message['content'] }}<|end|>
{% elif message['role'] == 'user' %}<|user|>{{ message['content'] }}<|end|>
{% else %}<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}<|assistant|>{% endif %}"""

TOOLS = """\
{%- for message in messages %}
{%- if message.role == 'tool' %}{{- '<|im_start|>user\\n<tool>' + message.content + '</tool><|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


@dataclass(frozen=True)
class Family:
    """A template with the special tokens it uses. `end` closes an answer."""

    template: str
    end: str
    special: dict[str, str]
    others: tuple[str, ...] = ()
    kind: str = "byte_level"
    end_ids: tuple[str, ...] = ()
    config: dict[str, object] = field(default_factory=dict)
    pre_tokenizer: str = "gpt2"


FAMILIES = {
    "chatml": Family(
        CHATML,
        "<|im_end|>",
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        ("<|im_start|>",),
    ),
    "chatml_marked": Family(
        CHATML_MARKED, "<|im_end|>", {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, ("<|im_start|>",)
    ),
    "llama3": Family(
        LLAMA3,
        "<|eot_id|>",
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        end_ids=("<|end_of_text|>", "<|eot_id|>"),
        pre_tokenizer="lines_apart",
    ),
    "gemma": Family(
        GEMMA,
        "<end_of_turn>",
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        ("<start_of_turn>", "<end_of_turn>"),
        kind="metaspace",
    ),
    "phi3": Family(
        PHI3,
        "<|end|>",
        {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"},
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        kind="metaspace",
    ),
    "mistral": Family(
        MISTRAL,
        "</s>",
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        ("[INST]", "[/INST]"),
        kind="metaspace",
    ),
    "qwen3": Family(
        QWEN3,
        "<|im_end|>",
        {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        ("<|im_start|>", "<|im_end|>"),
    ),
    "starter": Family(
        STARTER,
        "<|end|>",
        {"eos_token": "<|end|>", "pad_token": "<|end|>"},
        ("<|system|>", "<|user|>", "<|assistant|>"),
    ),
}


def build_tokenizer(family: Family) -> Tokenizer:
    """A BPE of a few hundred pieces: byte-level as GPT-2's, or SentencePiece-like with byte fallback."""
    special = list(dict.fromkeys([*family.special.values(), *family.others]))
    if family.kind == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
        split = pre_tokenizers.Split(Regex(_LINES_APART), "isolated")
        lines_apart = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
        tokenizer.pre_tokenizer = gpt2 if family.pre_tokenizer == "gpt2" else lines_apart
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator([CORPUS] * 3, trainer)
    else:
        bytes_ = [f"<0x{value:02X}>" for value in range(256)]
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        trainer = trainers.BpeTrainer(
            vocab_size=480, special_tokens=["<unk>", *bytes_], show_progress=False, limit_alphabet=60
        )
        tokenizer.train_from_iterator([CORPUS.replace("\n", "")] * 3, trainer)
        body = json.loads(tokenizer.to_str())
        body["added_tokens"] = []  # the byte pieces are ordinary vocabulary
        tokenizer = Tokenizer.from_str(json.dumps(body))
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    strips = family is FAMILIES.get("phi3")
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False, rstrip=strips) for text in special]
    )
    if "bos_token" in family.special:
        bos = family.special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def write_model_folder(folder: Path, family: Family, template_in: str = "jinja") -> Path:
    """What the tokenizer part of a model's folder looks like; `template_in`: jinja | config | list | none."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(family)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **family.special,
        **family.config,
    }
    if template_in == "config":
        config["chat_template"] = family.template
    elif template_in == "list":
        other = {"name": "rag", "template": "{{ raise_exception('not this one') }}"}
        config["chat_template"] = [other, {"name": "default", "template": family.template}]
    elif template_in == "jinja":
        (folder / "chat_template.jinja").write_text(family.template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if family.end_ids:
        ids = [tokenizer.token_to_id(token) for token in family.end_ids]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}), encoding="utf-8")
    return folder
