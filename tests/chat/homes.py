"""A studio home with a tiny base and runs in every state the chat engine meets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from backend.home import open_home
from backend.sentences import keep
from studio.data.render import Renderer
from studio.data.rows import Message
from studio.identity import base_identity
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.params import to_dict
from studio.plan import methods
from studio.train.tuner import TunerContext, make_tuner
from tests.toys.folders import tiny_plan, write_model
from ui.words import Words

OWN = tuple(id for id, method in methods.all().items() if method.served(method.params()) != "batched")
CONTEXT = 100_000  # so that an answer can go on for minutes


@dataclass(frozen=True)
class ChatHome:
    """`tuned-1` has a final adapter and two checkpoints (4 is the best), `early-1` checkpoints only,
    `empty-1` none, `merge-1` is adapters combined, `foreign-1` has another base, `moved-1` one whose weights
    were others; there is one of each method in `OWN`."""

    root: Path
    model: Path
    base: str

    def run(self, run: str) -> Path:
        return self.root / "runs" / run

    def reference(self, prompt: str, count: int, adapter: Path | None = None) -> list[int]:
        """Greedy tokens by transformers (and PEFT) alone, on the model loaded afresh."""
        return self.continued(self.renderer().encode_prompt([Message.of("user", prompt)]), count, adapter)

    def continued(self, ids: list[int], count: int, adapter: Path | None = None) -> list[int]:
        """The same for a prompt that is tokens already."""
        model: Any = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32).eval()
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter).eval()
        out = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=count, do_sample=False)
        return list(out[0, len(ids) :].tolist())

    def endless(self) -> str:
        """A prompt whose greedy answer has fallen into a loop and goes on for thousands of tokens."""
        return next(p for p in "xabcdefghijklmnopqrstuvwyz" if _loops(self.reference(p, 500)))

    def text(self, tokens: list[int]) -> str:
        """What a person sees of these tokens."""
        return self.renderer().decode(tokens)

    def base_hash(self) -> str:
        """Identity of the model, as a run's manifest names it."""
        return base_identity(self.model, self.root / "cache" / "hashes.json").hash

    def renderer(self) -> Renderer:
        return Renderer.from_folder(self.run("tuned-1") / "tokenizer")


def _loops(tokens: list[int]) -> bool:
    return any(tokens[-100:] == tokens[-100 - period : -period] for period in range(1, 50))


def write_home(root: Path) -> ChatHome:
    """Make the home under `root`."""
    model = write_model(root / "model", max_position_embeddings=CONTEXT)
    made = ChatHome(root / "home", model, f"path:{model}")
    _write_run(made, "tuned-1", made.base)
    _write_adapter(made, "tuned-1", "adapter", seed=1)
    _write_checkpoints(made, "tuned-1", (4, 8), best=4)
    _write_run(made, "early-1", made.base)
    _write_checkpoints(made, "early-1", (2, 6), best=2)
    _write_run(made, "empty-1", made.base)
    for method in OWN:
        _write_tuned(made, method)
    _write_run(made, "merge-1", made.base, merged=None)
    _write_adapter(made, "merge-1", "adapter", seed=20)
    _write_run(made, "moved-1", made.base)
    _write_adapter(made, "moved-1", "adapter", seed=8, base="0" * 64)
    _write_run(made, "foreign-1", "path:/somewhere/else")
    _write_adapter(made, "foreign-1", "adapter", seed=9)
    keep(open_home(made.root), Words("en").of_errors())
    return made


def load_base(home: ChatHome, method: str) -> Any:
    """The base as `method` wants it held."""
    declared = methods.get(method)
    quantisation = declared.base_quantisation(declared.params())
    return load_model(home.model, dtype=torch.float32, device="cpu", quantisation=quantisation)


def _write_tuned(home: ChatHome, method: str) -> None:
    """A run of a method that is no adapter for mixed batches, its trained tensors moved at random."""
    _write_run(home, f"{method}-1", home.base, method)
    model = load_base(home, method)
    plan = tiny_plan(method)
    tuner = make_tuner(plan)
    generator = torch.Generator().manual_seed(4)
    context = TunerContext(plan, Anatomy(model), generator, lambda _: iter(()), lambda _: torch.zeros(()))
    tuned = tuner.prepare(model, context)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    folder = home.run(f"{method}-1") / "adapter"
    folder.mkdir()
    tuner.save(tuned, folder)
    _write_manifest(folder, method, home.base_hash())


def _write_run(home: ChatHome, run: str, base: str, method: str = "lora", **more: Any) -> None:
    folder = home.run(run)
    folder.mkdir(parents=True)
    plan = {"model": base, "method": method, "method_params": {}, **more}
    (folder / "plan.json").write_text(json.dumps(plan))
    Renderer.from_folder(home.model).save(folder / "tokenizer")


def _write_checkpoints(home: ChatHome, run: str, steps: tuple[int, ...], best: int) -> None:
    for step in steps:
        checkpoint = f"checkpoints/step-{step:08d}"
        _write_adapter(home, run, f"{checkpoint}/adapter", seed=10 + step)
        manifest = home.run(run) / checkpoint / "adapter" / "manifest.json"
        manifest.rename(home.run(run) / checkpoint / "manifest.json")
    (home.run(run) / "best.json").write_text(json.dumps({"step": best, "eval_loss": 1.0}))


def _write_adapter(home: ChatHome, run: str, place: str, seed: int, base: str | None = None) -> None:
    model = AutoModelForCausalLM.from_pretrained(home.model, dtype=torch.float32)
    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    folder = home.run(run) / place
    get_peft_model(model, config).save_pretrained(folder)
    _write_manifest(folder, "lora", base or home.base_hash())


def _write_manifest(folder: Path, method: str, base: str) -> None:
    body = {"base": base, "method": method, "method_params": to_dict(methods.get(method).params())}
    (folder / "manifest.json").write_text(json.dumps(body))
