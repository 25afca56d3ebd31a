"""Renderers from models' folders: what is found there, what is refused, and the copy that a run keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, normalizers

from studio.data.render import Renderer
from studio.data.rows import Message
from studio.errors import StudioError
from tests.data.conversations import CONVERSATIONS, dicts_of, learned_text, stream_of
from tests.data.templates import FAMILIES, Family, write_model_folder


def test_a_run_never_has_half_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model_folder(tmp_path / "model", next(iter(FAMILIES.values())))
    folder = tmp_path / "run" / "tokenizer"

    def disk_full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("studio.data.render._write_json", disk_full)
        with pytest.raises(OSError, match="disk full"):
            Renderer.of_run(folder, model)
    assert not folder.exists()
    assert Renderer.of_run(folder, model).hash() == Renderer.from_folder(model).hash()
    assert [entry.name for entry in folder.parent.iterdir()] == ["tokenizer"]


def test_saved_folder_gives_the_same_renderer_and_loads_in_transformers(family, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    _, renderer, _ = family
    renderer.save(tmp_path)
    again = Renderer.from_folder(tmp_path)
    assert again.hash() == renderer.hash()
    assert (again.stop_ids, again.pad_id, again.eos_id, again.notes) == (
        renderer.stop_ids,
        renderer.pad_id,
        renderer.eos_id,
        renderer.notes,
    )
    turns = CONVERSATIONS["multi"]
    assert again.encode(stream_of(turns)) == renderer.encode(stream_of(turns))
    reference = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        reference.apply_chat_template(dicts_of(turns), return_dict=False)
        == again.encode(stream_of(turns)).ids
    )


def test_date_of_a_saved_renderer_stays(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path / "model", FAMILIES["llama3"]))
    renderer.save(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "renderer.json").read_text())
    facts["now"] = "2024-07-26T12:00:00"
    (tmp_path / "run" / "renderer.json").write_text(json.dumps(facts))
    prompt = Renderer.from_folder(tmp_path / "run").encode_prompt([Message.of("user", "Hi")])
    assert "26 Jul 2024" in renderer.decode(prompt)


@pytest.mark.parametrize("place", ["jinja", "config", "list"])
def test_template_is_found_wherever_a_model_keeps_it(tmp_path: Path, place: str) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"], place))
    assert renderer.template_text == FAMILIES["chatml"].template


def test_stop_ids_hold_the_end_of_turn_and_the_end_of_text(family) -> None:
    name, renderer, reference = family
    expected = {FAMILIES[name].end, FAMILIES[name].special["eos_token"], *FAMILIES[name].end_ids}
    assert renderer.stop_ids == {reference.convert_tokens_to_ids(token) for token in expected}


def test_base_model_without_template_gets_the_fallback_and_says_so(tmp_path: Path) -> None:
    renderer = Renderer.from_folder(write_model_folder(tmp_path, FAMILIES["chatml"], "none"))
    assert [note.code for note in renderer.notes] == ["template_fallback"]
    stream = stream_of(CONVERSATIONS["multi"])
    assert learned_text(renderer, stream) == "Hi there! 😀<|im_end|> 46 é你 <|im_end|>"
    prompt = renderer.encode_prompt(stream.messages[:-1])
    assert renderer.encode(stream).ids[: len(prompt)] == prompt
    assert renderer.decode(prompt, skip_special=False).endswith("User:\n what is 12 + 34?\n\n\nAssistant:\n")


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{% for m in messages %}{{ m.content }}", "template_broken"),
        ("{{ messages[7].content }}", "template_broken"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content | upper }}{% endfor %}", None),
        ("{% for m in messages %}{{ m.content | length }} {% endfor %}", "template_broken"),
        ("{{ ''.__class__.__mro__ }}", "template_broken"),
        ("{{ messages.append(1) }}", "template_broken"),
    ],
)
def test_impossible_templates_are_refused_with_a_code(
    tmp_path: Path, template: str, code: str | None
) -> None:
    family = Family(template, "<|end|>", {"eos_token": "<|end|>"})
    folder = write_model_folder(tmp_path, family)
    if code is None:  # upper case keeps the marks in place
        assert (
            learned_text(Renderer.from_folder(folder), stream_of([("user", "a"), ("assistant", "b")])) == "B"
        )
        return
    with pytest.raises(StudioError) as caught:
        Renderer.from_folder(folder)
    assert caught.value.code == code
    assert caught.value.facts["detail"]


def test_special_tokens_that_only_the_configuration_names_are_added(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path, FAMILIES["chatml"])
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["pad_token"] = "[PAD]"
    config["additional_special_tokens"] = ["<extra>"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    renderer, reference = Renderer.from_folder(folder), AutoTokenizer.from_pretrained(folder)
    assert renderer.pad_id == reference.pad_token_id
    assert renderer.vocab_size == len(reference)
    assert (
        renderer.encode_text("a<extra>b[PAD]")
        == reference("a<extra>b[PAD]", add_special_tokens=False)["input_ids"]
    )


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        (None, "", "tokenizer_missing"),
        ("tokenizer.json", "{", "tokenizer_unreadable"),
        ("tokenizer.json", "[]", "tokenizer_unreadable"),
        pytest.param(
            "tokenizer.model", "no SentencePiece file", "tokenizer_unconvertible", marks=pytest.mark.worker
        ),
    ],
)
def test_a_folder_without_a_readable_tokenizer_is_said_so(
    tmp_path: Path, name: str | None, content: str, code: str
) -> None:
    if name is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StudioError) as caught:
        Renderer.from_folder(tmp_path)
    assert caught.value.code == code


@pytest.mark.worker
def test_a_slow_tokenizer_is_converted_once(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = write_model_folder(tmp_path / "fast", FAMILIES["chatml"])
    model = json.loads((source / "tokenizer.json").read_text())["model"]
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (slow / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "bos_token": "<|im_end|>"}
    config |= {"unk_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]}
    config["chat_template"] = FAMILIES["chatml"].template
    (slow / "tokenizer_config.json").write_text(json.dumps(config))
    (slow / "config.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 395}))
    renderer = Renderer.from_folder(slow, converted=tmp_path / "converted")
    reference = AutoTokenizer.from_pretrained(slow)
    turns = CONVERSATIONS["multi"]
    assert renderer.encode(stream_of(turns)).ids == reference.apply_chat_template(
        dicts_of(turns), return_dict=False
    )
    (made,) = (tmp_path / "converted").glob("*/tokenizer.json")
    before = made.stat().st_mtime_ns
    assert Renderer.from_folder(slow, converted=tmp_path / "converted").hash() == renderer.hash()
    assert made.stat().st_mtime_ns == before


@pytest.mark.worker
def test_llamas_sentencepiece_tokenizer_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    """Llama 2 and its kin: transformers 5 builds them anew instead of taking tokenizer.json as it stands."""
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path / "model", FAMILIES["mistral"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    as_it_stands = Renderer.from_folder(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizer"}))
    turns = CONVERSATIONS["multi"]
    reference = AutoTokenizer.from_pretrained(folder)
    expected = reference.apply_chat_template(dicts_of(turns), return_dict=False)
    assert expected != as_it_stands.encode(stream_of(turns)).ids
    renderer = Renderer.from_folder(folder)
    assert renderer.encode(stream_of(turns)).ids == expected
    renderer.save(tmp_path / "run")
    again = Renderer.from_folder(tmp_path / "run")
    assert (again.encode(stream_of(turns)).ids, again.hash()) == (expected, renderer.hash())
    saved = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert saved.apply_chat_template(dicts_of(turns), return_dict=False) == expected
    detokenizer = renderer.detokenizer()
    streamed = "".join(detokenizer.push(token) for token in expected) + detokenizer.finish()
    assert streamed == renderer.decode(expected) == reference.decode(expected, skip_special_tokens=True)


@pytest.mark.worker
def test_rendering_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = write_model_folder(tmp_path, FAMILIES["starter"])
    program = (
        "import sys, pathlib; from studio.data.render import Renderer; from studio.data.check import check; "
        f"Renderer.from_folder(pathlib.Path({str(folder)!r})); "
        "print(sorted({'torch', 'transformers', 'pandas', 'pyarrow', 'gradio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
