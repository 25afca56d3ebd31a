"""Merging into the base: against the methods' own merge and plain transformers; killed, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from studio.data.render import Renderer
from studio.data.rows import Message
from studio.errors import StudioError
from studio.identity import base_identity
from studio.merge import shards
from studio.merge.adapter import peft_form, write_adapter
from studio.merge.factors import Factors
from studio.merge.into_base import Source, merge_into_base
from studio.merge.layout import Layout
from studio.merge.verify import last_logits, run_logits, verify
from studio.models.load import load_model
from studio.plan import Plan, methods
from studio.train.checkpoint import read_manifest
from studio.train.tuner import make_tuner
from tests.toys.folders import TEMPLATE, sums, tiny_model, tiny_plan, write_model, write_run
from tests.toys.runs import run_plan
from tests.toys.tuned import root, untouched

IDS = torch.arange(4, 44)[None]
PROMPTS = [list(range(4, 30)), list(range(60, 110))]
# Name -> family, method and what else is set.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lora": ("llama", "lora", {}),
    "tied": ("qwen2", "lora", {}),
    "rslora_dora": ("llama", "lora", {"rslora": True, "dora": True, "alpha": 4}),
    "pissa": ("llama", "lora", {"init": "pissa"}),
    "tokens": ("llama", "lora", {"trainable_tokens": "<|assistant|>,7"}),
    "tied_tokens": ("qwen2", "lora", {"trainable_tokens": "7"}),
    "modules": ("llama", "lora", {"modules_to_save": "norm,lm_head,k_proj"}),
    "tied_modules": ("qwen2", "lora", {"modules_to_save": "lm_head"}),
    "gpt2": ("gpt2", "lora", {}),
    "mixtral": ("mixtral", "lora", {}),
    "full": ("llama", "full", {}),
    "tied_full": ("qwen2", "full", {"freeze_layers": 1}),
    "qlora": ("llama", "qlora", {}),
    "qlora_dora": ("llama", "qlora", {"dora": True, "modules_to_save": "norm"}),
    "qlora_gpt2": ("gpt2", "qlora", {}),
    "qlora_falcon": ("falcon", "qlora", {}),
    "lst": ("llama", "lst", {}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The finished run of a case: its plan, and what merging reads."""

    @cache
    def run(case: str) -> tuple[Plan, Source]:
        family, method, more = CASES[case]
        folder = tmp_path_factory.mktemp(case)
        model = write_model(folder / "model", family)
        plan = tiny_plan(method, **{"warmup": 0.0, "steps": 3, **more})
        run_plan(plan, model, write_run(folder / "run", sums(16), sums(4, 100)), pytest.MonkeyPatch())
        source = Source(
            folder / "run" / "adapter",
            model,
            base_identity(model, folder / "hashes.json").hash,
            folder / "run" / "tokenizer",
            "fp32",
        )
        return plan, source

    return run


def plain_logits(folder: Path) -> Tensor:
    """By transformers alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model.eval()(IDS).logits  # type: ignore[no-any-return]


def own_merge(plan: Plan, source: Source, *, in_4_bit: bool = True) -> Tensor:
    """Logits after the method's own merge, in memory."""
    if not in_4_bit:
        plan = replace(plan, method="lora")
    tuner = make_tuner(plan)
    model: Any = tuner.merge(tuner.load(untouched(plan, source.base), source.adapter))
    with torch.no_grad():
        return root(model)(IDS).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", [case for case in CASES if case != "lst"])
def test_equals_the_methods_own_merge(made: Any, tmp_path: Path, case: str) -> None:
    plan, source = made(case)
    exact = plan.method == "qlora"
    out = merge_into_base(source, tmp_path / "merged", exact=exact)
    expected, base = own_merge(plan, source), plain_logits(source.base)
    torch.testing.assert_close(plain_logits(out), expected, rtol=0, atol=1e-4)
    assert (expected - base).abs().max() > 0.05
    found = verify(source, out, PROMPTS, exact=exact)
    assert found.written.passed, found
    assert (found.ways is not None) == exact


@pytest.mark.parametrize("case", [case for case in CASES if case != "lst"])
def test_layer_by_layer_is_the_run_bit_for_bit(made: Any, case: str) -> None:
    plan, source = made(case)
    tuner, quantisation = make_tuner(plan), methods.get(plan.method).base_quantisation(plan.method_params)
    whole = last_logits(tuner.load(untouched(plan, source.base), source.adapter), tuner, PROMPTS)
    layers = run_logits(source, quantisation, torch.float32, 1.0, PROMPTS)
    assert all(torch.equal(a, b) for a, b in zip(layers, whole, strict=True))


@pytest.mark.parametrize("case", ["qlora", "qlora_gpt2"])
def test_into_the_stored_base_differs_from_the_rounded_one_and_says_how_much(
    made: Any, tmp_path: Path, case: str
) -> None:
    plan, source = made(case)
    out = merge_into_base(source, tmp_path / "merged")
    stored, rounded = own_merge(plan, source, in_4_bit=False), own_merge(plan, source)
    torch.testing.assert_close(plain_logits(out), stored, rtol=0, atol=1e-4)
    found = verify(source, out, [IDS[0].tolist()], exact=False)
    assert found.written.passed
    gaps = (stored - rounded)[0, -16:].abs()
    assert found.ways is not None
    assert found.ways.max_difference == pytest.approx(float(gaps.max()), rel=1e-2)
    assert found.ways.mean_difference == pytest.approx(float(gaps.mean()), rel=1e-2)
    assert found.ways.max_difference > 100 * found.written.max_difference


@pytest.mark.parametrize("case", ["lora", "rslora_dora", "tied_modules", "full", "qlora"])
def test_between_the_base_and_the_tuned_model(made: Any, tmp_path: Path, case: str) -> None:
    plan, source = made(case)
    exact = plan.method == "qlora"
    whole, part, none = (
        merge_into_base(source, tmp_path / str(weight), exact=exact, weight=weight)
        for weight in (1.0, 0.25, 0.0)
    )
    after, between, before = (load_file(folder / "model.safetensors") for folder in (whole, part, none))
    for name, tensor in between.items():
        expected = 0.75 * before[name] + 0.25 * after[name]
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-5)
    if not exact:
        stored = load_file(source.base / "model.safetensors")
        assert all(torch.equal(before[name], tensor) for name, tensor in stored.items())
    assert verify(source, part, PROMPTS, exact=exact, weight=0.25).written.passed


def test_a_wrong_merge_does_not_pass(made: Any, tmp_path: Path) -> None:
    _, source = made("lora")
    out = merge_into_base(source, tmp_path / "merged", weight=0.97)
    assert verify(source, out, PROMPTS, exact=False).written.passed is False


@pytest.mark.parametrize("family", ["llama", "gpt2", "falcon", "qwen2", "opt", "mixtral"])
def test_the_same_weights_are_rounded_as_in_a_base_in_4_bit(tmp_path: Path, family: str) -> None:
    folder = write_model(tmp_path / "model", family)
    quantisation = methods.get("qlora").base_quantisation(methods.get("qlora").params())
    model = load_model(folder, dtype=torch.float32, device="cpu", quantisation=quantisation)
    held = {f"{path}.weight" for path, m in model.named_modules() if isinstance(m, Linear4bit)}
    assert Layout(folder).rounded == held
    assert held


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_16_bit_weights_over_shards(tmp_path: Path, precision: str) -> None:
    """A base stored in bf16 in several files: same files, names and dtypes; and the run's tokenizer."""
    model = write_model(tmp_path / "model")
    tiny_model().bfloat16().save_pretrained(model, max_shard_size="20KB")
    (model / "model.safetensors").unlink()
    plan = tiny_plan("qlora", steps=3, precision=precision, adapter_dtype="fp32")
    run = write_run(tmp_path / "run", sums(16), sums(4, 100))
    run_plan(plan, model, run, pytest.MonkeyPatch())
    (run / "tokenizer" / "chat_template.jinja").write_text("Now: " + TEMPLATE)
    hash = base_identity(model, tmp_path / "hashes.json").hash
    source = Source(run / "adapter", model, hash, run / "tokenizer", precision)
    out = merge_into_base(source, tmp_path / "out" / "merged", exact=True)
    names = {file.name for file in model.glob("model*")}
    assert len(names) > 3
    assert {file.name for file in out.glob("model*")} == names
    for name in names - {"model.safetensors.index.json"}:
        before, after = load_file(model / name), load_file(out / name)
        assert {k: (v.dtype, v.shape) for k, v in before.items()} == {
            k: (v.dtype, v.shape) for k, v in after.items()
        }
    found = verify(source, out, PROMPTS, exact=True)
    assert found.written.passed, found
    tokenizer = AutoTokenizer.from_pretrained(out)
    asked = [{"role": "user", "content": "hello"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert tokenizer.decode(ids) == "Now: <|user|>hello<|assistant|>"
    message = Message.of("user", "hello")
    assert Renderer.from_folder(out).encode_prompt([message]) == ids
    assert Renderer.from_folder(out).hash() == Renderer.from_folder(run / "tokenizer").hash()
    manifest = read_manifest(out)
    assert manifest is not None
    assert (manifest["kind"], manifest["base"], manifest["exact"]) == ("merge", hash, True)


def refusal(source: Source, out: Path, **values: Any) -> StudioError:
    with pytest.raises(StudioError) as refused:
        merge_into_base(source, out, **values)
    return refused.value


def test_refusals_name_what_is_wrong_and_leave_nothing(made: Any, tmp_path: Path) -> None:
    _, lora = made("lora")
    assert refusal(made("lst")[1], tmp_path / "out").code == "method_not_mergeable"
    other = refusal(replace(lora, base_hash="0" * 64), tmp_path / "out")
    assert (other.code, other.facts["trained"]) == ("merge_other_base", lora.base_hash)
    assert refusal(lora, tmp_path / "out", exact=True).code == "merge_not_4_bit"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("all my work")
    assert refusal(lora, taken).code == "merge_out_taken"
    assert (taken / "thesis.txt").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_weight_that_the_files_keep_in_parts_is_refused(tmp_path: Path) -> None:
    """Mixtral's experts are one tensor in memory and many on disk."""
    model = write_model(tmp_path / "model", "mixtral")
    run = write_run(tmp_path / "run", sums(16), sums(4, 100))
    run_plan(tiny_plan("full", steps=1), model, run, pytest.MonkeyPatch())
    hash = base_identity(model, tmp_path / "hashes.json").hash
    error = refusal(Source(run / "adapter", model, hash), tmp_path / "out")
    assert error.code == "merge_tensor_unknown"
    assert "experts" in error.facts["tensors"][0]


@pytest.mark.worker
def test_a_killed_merge_leaves_nothing_that_looks_whole(made: Any, tmp_path: Path) -> None:
    _, source = made("lora")
    code = f"""
import os, signal
from pathlib import Path
from studio.merge.into_base import Source, merge_into_base
source = Source(*map(Path, {[str(source.adapter), str(source.base)]}), {source.base_hash!r})
def die(share):
    if share > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
merge_into_base(source, Path({str(tmp_path / "out")!r}), progress=die)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=os.getcwd(), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".")
    assert read_manifest(left) is None
    assert not (left / "config.json").exists()
    # The next one is not in its way.
    merge_into_base(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


MEASURED = """
import sys, threading
from pathlib import Path
import psutil, torch
from studio.merge.into_base import Source, merge_into_base
from studio.merge.verify import verify
adapter, model, hash, out, first, small = sys.argv[1:]
def both(model, adapter, hash, out):
    source = Source(Path(adapter), Path(model), hash)
    return verify(source, merge_into_base(source, Path(out)), [list(range(4, 36))], exact=False)
both(small, first, Path(first, "base").read_text(), out + "-small")
me, most, done = psutil.Process(), 0, threading.Event()
before = me.memory_info().rss
def watch():
    global most
    while not done.wait(0.0005):
        most = max(most, me.memory_info().rss - before)
watcher = threading.Thread(target=watch)
watcher.start()
passed = both(model, adapter, hash, out).written.passed
done.set()
watcher.join()
print(passed, most)
"""


@pytest.mark.worker
def test_memory_stays_under_the_largest_file(tmp_path: Path) -> None:
    """Merging and the look afterwards, of five files of up to 57 MB: what the process holds above what it
    held once it had done both to a small model, so with all code loaded. No file of a model is mapped: it is
    all memory that nobody can take back."""
    shape = {"hidden_size": 768, "intermediate_size": 3072, "vocab_size": 8192, "num_hidden_layers": 7}
    model, small = write_model(tmp_path / "model"), write_model(tmp_path / "small")
    (model / "model.safetensors").unlink()
    tiny_model(**shape).save_pretrained(model, max_shard_size="60MB")
    files = sorted(model.glob("*.safetensors"))
    sizes = [file.stat().st_size for file in files]
    adapter, first = tmp_path / "adapter", tmp_path / "first"
    assert len(files) >= 5
    hash = _write_adapter(adapter, model, tmp_path)
    (first / "base").write_text(_write_adapter(first, small, tmp_path))
    given = [str(adapter), str(model), hash, str(tmp_path / "out"), str(first), str(small)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *given], check=True, capture_output=True, text=True
    )
    passed, taken = done.stdout.split()[-2:]
    added, layer = (adapter / "adapter_model.safetensors").stat().st_size, 4 * 3 * 3072 * 768
    assert passed == "True"
    assert layer < int(taken) < 1.3 * max(sizes) + added < sum(sizes) / 3


def _write_adapter(folder: Path, model: Path, root: Path) -> str:
    """A random one over the whole model; gives the base's hash."""
    torch.manual_seed(0)
    layout = Layout(model)
    shapes = {
        place.name: place.shape for file in model.glob("*.safetensors") for place in shards.places(file)
    }
    factors = {
        name.removesuffix(".weight"): Factors(torch.randn(8, shape[1]), torch.randn(shape[0], 8))
        for name, shape in shapes.items()
        if name in layout.rounded
    }
    folder.mkdir()
    write_adapter(folder, peft_form(factors, fan_in_fan_out=False))
    hash = base_identity(model, root / "hashes.json").hash
    (folder / "manifest.json").write_text(json.dumps({"method": "lora", "method_params": {}, "base": hash}))
    return hash


def test_a_file_is_copied_bit_for_bit_where_nothing_changes(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    file, seen = model / "model.safetensors", []
    shards.rewrite(file, tmp_path / "copy", lambda _: None, seen.append)
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert sum(seen) == sum(place.end - place.start for place in shards.places(file))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = write_model(tmp_path / "model") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(StudioError) as refused:
        shards.places(file)
    assert refused.value.code == "weights_unreadable"
