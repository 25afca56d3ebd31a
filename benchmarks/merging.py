"""What merging a LoRA run into its base and verifying the result take: `python -m benchmarks.merging`.

Random bf16 Llama weights in several files, rank 16 on every linear layer. A process of its own merges, then
compares on 8 prompts of 128 tokens, the most that a merge does; what counts is the resident memory (the
kernel's own peak, `VmHWM`, set back before each part) above what the process held before, when it had merged
and verified a model of one layer, so that all code was loaded. No file of the model is mapped, so these are
pages that nobody can take back. Against 1.3 x the largest file + the adapter. Linux only; writes
benchmarks/results/merging.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "merging.json"
RANK, FACTOR = 16, 1.3
SHAPE = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16, "num_key_value_heads": 16}
TOKENS = 16_000
PROMPTS = [[1 + (7 * i + 31 * j) % (TOKENS - 1) for i in range(128)] for j in range(8)]


def write_model(folder: Path, layers: int, shard: str) -> None:
    """Random weights that answer unevenly, with the tokenizer of the starter."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    import assets

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, vocab_size=TOKENS, num_hidden_layers=layers, tie_word_embeddings=False)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=shard)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes(assets.path("starter", name).read_bytes())


def write_adapter(folder: Path, model: Path) -> str:
    """A random adapter over all linear layers; gives the base's hash."""
    import torch

    from studio.identity import base_identity, weight_files
    from studio.merge import shards
    from studio.merge.adapter import peft_form
    from studio.merge.adapter import write_adapter as write
    from studio.merge.factors import Factors

    places = [place for file in weight_files(model) for place in shards.places(file)]
    factors = {
        place.name.removesuffix(".weight"): Factors(
            0.02 * torch.randn(RANK, place.shape[1]), 0.02 * torch.randn(place.shape[0], RANK)
        )
        for place in places
        if "_proj" in place.name
    }
    folder.mkdir()
    write(folder, peft_form(factors, fan_in_fan_out=False))
    hash = base_identity(model, folder / "hashes.json").hash
    (folder / "manifest.json").write_text(json.dumps({"method": "lora", "method_params": {}, "base": hash}))
    return hash


def resident(field: str) -> int:
    """`VmRSS` now or `VmHWM` at the peak, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def peak_of(work: Callable[[], object]) -> int:
    """Bytes at the peak of some work above those before."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
    work()
    return resident("VmHWM") - before


def measured(folder: Path) -> dict[str, Any]:
    """In a process of its own: what merging and verifying the model in `folder` take."""
    import torch

    from studio.merge.into_base import Source, merge_into_base
    from studio.merge.verify import verify

    torch.set_num_threads(1)

    def source(name: str) -> Source:
        adapter = folder / f"{name}-adapter"
        hash = json.loads((adapter / "manifest.json").read_text())["base"]
        return Source(adapter, folder / name, hash)

    small = merge_into_base(source("small"), folder / "small-merged")
    verify(source("small"), small, PROMPTS[:1], exact=False)
    big, out = source("big"), folder / "merged"
    merging = peak_of(lambda: merge_into_base(big, out))
    found: list[Any] = []
    verifying = peak_of(lambda: found.append(verify(big, out, PROMPTS, exact=False)))
    return {"merging": merging, "verifying": verifying, "passed": found[0].written.passed}


def run(layers: int, shard: str) -> dict[str, Any]:
    """Make a model, measure in a process of its own, and hold it against the bound."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, count in (("small", 1), ("big", layers)):
            write_model(folder / name, count, shard)
            write_adapter(folder / f"{name}-adapter", folder / name)
        sizes = [file.stat().st_size for file in (folder / "big").glob("*.safetensors")]
        adapter = (folder / "big-adapter" / "adapter_model.safetensors").stat().st_size
        child = [sys.executable, "-m", "benchmarks.merging", "--child", str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(child, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        took = json.loads(done.stdout.splitlines()[-1])
    bound = FACTOR * max(sizes) + adapter
    return {
        "files": len(sizes),
        "model_bytes": sum(sizes),
        "largest_file_bytes": max(sizes),
        "adapter_bytes": adapter,
        "bound_bytes": int(bound),
        "merging_bytes": took["merging"],
        "verifying_bytes": took["verifying"],
        "of_the_bound": max(took["merging"], took["verifying"]) / bound,
        "passed": took["passed"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--shard", default="130MB")
    parser.add_argument("--child", type=Path)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measured(asked.child)))
        return
    document = {"command": "python -m benchmarks.merging", **run(asked.layers, asked.shard)}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
