"""GGUF files against their base: metadata by the reader of the gguf package, logits by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

import assets
from studio.errors import StudioError
from studio.export.export import export
from studio.export.subject import Subject
from studio.exports import exports
from studio.params import parse
from tests.toys.folders import write_model

IDS = torch.arange(4, 68)[None]
# Most that a rounding to nearest moves a number, as a share of it.
STEPS = {"f16": 2.0**-11, "bf16": 2.0**-8}


def written(base: Path, out: Path, type: str = "f16") -> Any:
    format = exports.get("gguf")
    params = parse(format.params, {"type": type})[0]
    return export(Subject(base, "hash"), format, params, out, [list(range(4, 40)), list(range(50, 70))])


@torch.no_grad()
def logits(folder: Path, **more: Any) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)
    return model.eval()(IDS).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("type", ["f16", "bf16", "q8_0"])
def test_transformers_reads_the_same_model(tmp_path: Path, family: str, type: str) -> None:
    # transformers reads no window out of GGUF and, for Qwen 3, no head width but the published models'.
    changes = {"mistral": {"sliding_window": None}, "qwen3": {"head_dim": 128}}.get(family, {})
    base = write_model(tmp_path / "base", family, **changes)
    made = written(base, tmp_path / "out", type)
    there, here = logits(base), logits(made.folder, gguf_file=f"model-{type}.gguf")
    share = float((there - here).abs().max() / there.abs().max())
    assert share <= {"f16": 1e-2, "bf16": 5e-2, "q8_0": 1e-1}[type]
    assert made.parity.passed


@pytest.mark.parametrize("type", ["f16", "bf16", "q8_0"])
def test_every_weight_is_rounded_once(tmp_path: Path, type: str) -> None:
    """By the gguf package's own reader, against the base's file; queries and keys in llama.cpp's order."""
    base = write_model(tmp_path / "base", "llama")
    made = written(base, tmp_path / "out", type)
    tensors = {t.name: t for t in gguf.GGUFReader(made.folder / f"model-{type}.gguf").tensors}
    stored = load_file(base / "model.safetensors")
    assert len(tensors) == len(stored)
    wanted = stored["model.layers.1.mlp.down_proj.weight"].numpy()
    found = gguf.dequantize(
        tensors["blk.1.ffn_down.weight"].data, tensors["blk.1.ffn_down.weight"].tensor_type
    )
    if type in STEPS:
        assert np.abs(found - wanted).max() <= STEPS[type] * np.abs(wanted).max()
        assert tensors["blk.1.ffn_down.weight"].tensor_type.name.lower() == type
    else:  # 48 entries are no whole blocks of 32
        assert tensors["blk.1.ffn_down.weight"].tensor_type.name == "F16"
        gate = tensors["blk.0.ffn_gate.weight"]
        assert gate.tensor_type.name == "Q8_0"
        blocks = stored["model.layers.0.mlp.gate_proj.weight"].view(-1, 32)
        off = torch.from_numpy(gguf.dequantize(gate.data, gate.tensor_type).copy()).view(-1, 32) - blocks
        # Half a step of a 127th of the block's largest, and what the scale loses in 16 bit.
        assert (off.abs() <= (0.5 / 127 + 2.0**-11) * 1.01 * blocks.abs().amax(1, keepdim=True)).all()
    assert tensors["output_norm.weight"].tensor_type.name == "F32"
    if type == "f16":
        query = stored["model.layers.0.self_attn.q_proj.weight"]  # 4 heads of 8: 0 4 1 5 2 6 3 7
        order = [head * 8 + pair + half * 4 for head in range(4) for pair in range(4) for half in range(2)]
        there = torch.from_numpy(tensors["blk.0.attn_q.weight"].data.astype(np.float32))
        torch.testing.assert_close(there, query[order], rtol=1e-3, atol=1e-6)


def test_words_and_template_are_inside(tmp_path: Path) -> None:
    """The starter's: the reader finds tokens, merges, template and special tokens; transformers makes the
    same ids of them."""
    base = assets.path("starter")
    made = written(base, tmp_path / "out", "q8_0")
    fields = gguf.GGUFReader(made.folder / "model-q8_0.gguf").fields
    facts = {name: field.contents() for name, field in fields.items() if not name.startswith("GGUF")}
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    assert facts["general.architecture"] == "llama"
    assert facts["llama.block_count"] == 6
    assert (facts["llama.context_length"], facts["llama.rope.dimension_count"]) == (512, 32)
    assert facts["tokenizer.ggml.tokens"] == [tokenizer.id_to_token(i) for i in range(2048)]
    assert facts["tokenizer.ggml.token_type"][:6] == [3, 3, 3, 3, 3, 1]
    assert (facts["tokenizer.ggml.model"], facts["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert (facts["tokenizer.ggml.eos_token_id"], facts["tokenizer.ggml.add_bos_token"]) == (1, False)
    assert facts["tokenizer.chat_template"] == (base / "chat_template.jinja").read_text(encoding="utf-8")
    body = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    assert len(facts["tokenizer.ggml.merges"]) == len(body["model"]["merges"])
    read = AutoTokenizer.from_pretrained(made.folder, gguf_file="model-q8_0.gguf")
    text = "What is the capital of France? It's 7 + 5, isn't it?"
    assert read(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids
    modelfile = (made.folder / "Modelfile").read_text(encoding="utf-8")
    assert modelfile.startswith('FROM ./model-q8_0.gguf\nTEMPLATE """{{ range .Messages }}')
    assert modelfile.endswith('<|assistant|>"""\nPARAMETER stop "<|end|>"\n')
    assert made.parity.passed


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def test_llama_3_positions_are_stretched_as_transformers_does(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama", rope_parameters=LLAMA_3, head_dim=16)
    made = written(base, tmp_path / "out")
    tensors = {t.name: t for t in gguf.GGUFReader(made.folder / "model-f16.gguf").tensors}
    there: Any = AutoModelForCausalLM.from_pretrained(base)
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    found = plain / torch.from_numpy(tensors["rope_freqs.weight"].data.copy())
    torch.testing.assert_close(found, there.model.rotary_emb.inv_freq)
    assert not torch.allclose(found, plain)
    assert made.parity.passed


@pytest.mark.parametrize(
    ("rope", "code"), [({"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}, "export_rope_unknown")]
)
def test_what_it_cannot_say_is_refused(tmp_path: Path, rope: dict[str, Any], code: str) -> None:
    base = write_model(tmp_path / "base", "llama", rope_parameters=rope)
    with pytest.raises(StudioError) as refused:
        written(base, tmp_path / "out")
    assert refused.value.code == code
    assert not (tmp_path / "out").exists()


LLAMA_3_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(expression: str) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [cut, BYTES]}


def rewrite_tokenizer(base: Path, changes: dict[str, Any]) -> None:
    """Change entries of tokenizer.json; `ignore_merges` is the model's."""
    body = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    body["model"]["ignore_merges"] = changes.get("ignore_merges", False)
    body |= {name: value for name, value in changes.items() if name != "ignore_merges"}
    (base / "tokenizer.json").write_text(json.dumps(body), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        # llama.cpp takes words whole under the first name and not under the second.
        ("llama-bpe", {"pre_tokenizer": split(LLAMA_3_CUT), "ignore_merges": True}),
        ("smaug-bpe", {"pre_tokenizer": split(LLAMA_3_CUT), "ignore_merges": False}),
        ("qwen2", {"pre_tokenizer": split(LLAMA_3_CUT.replace("{1,3}", "")), "normalizer": {"type": "NFC"}}),
    ],
)
def test_a_cut_has_the_name_under_which_llama_cpp_makes_the_same_ids(
    tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    base = write_model(tmp_path / "base", "llama")
    rewrite_tokenizer(base, changes)
    made = written(base, tmp_path / "out")
    fields = gguf.GGUFReader(made.folder / "model-f16.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == name


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}},
        # Under the names that these cuts have, llama.cpp makes other ids of almost any text.
        {"ignore_merges": True},
        {"pre_tokenizer": split(LLAMA_3_CUT.replace("{1,3}", "")), "ignore_merges": True},
        {"pre_tokenizer": {**BYTES, "add_prefix_space": True, "use_regex": True}},
        {"normalizer": {"type": "Lowercase"}},
    ],
)
def test_an_unknown_tokenizer_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    base = write_model(tmp_path / "base", "llama")
    rewrite_tokenizer(base, changes)
    with pytest.raises(StudioError) as refused:
        written(base, tmp_path / "out")
    assert refused.value.code == "export_tokenizer_unknown"
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
