"""Does llama.cpp answer from an exported GGUF as the studio does?

    python -m benchmarks.llama_cpp --python PYTHON [--sample pirate] [--home DIR] [--vocabularies]

PYTHON is one that has llama-cpp-python, which the studio neither needs nor installs: a venv of its own, with
the package built from its source (`pip install --no-binary llama-cpp-python llama-cpp-python`).

`starter`: tuned by LoRA with the defaults, through the facade, exported in each type, and asked all held-out
prompts, greedily, up to 32 tokens. The studio's side is the playground's answers, and the model as the run
left it, base and adapter, in 32 bit; llama.cpp's side has nothing but the file, chat template included.
Logits are compared at the last 16 positions of each prompt with the studio's answer, as the parity of an
export does. `vocabularies`: see `benchmarks.llama_cpp_toys`; with --vocabularies only they are asked.
Results go to benchmarks/results/llama-cpp.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

import assets
from backend.api import ExportRequest
from backend.api.chat import ChatRequest, Pane, Sampling
from backend.exporting import learned_of
from backend.facade import StudioFacade
from backend.home import Home
from benchmarks.llama_cpp_toys import PIECE_TOYS, STRINGS, TOYS, write_toy
from benchmarks.samples import held_out
from studio.data.rows import Message
from studio.errors import StudioError
from studio.export.export import export
from studio.export.parity import ANSWER_TOKENS, own_answers
from studio.export.subject import Subject
from studio.exports import exports
from studio.merge import POSITIONS
from studio.merge.verify import agreement, last_logits
from studio.names import parse
from studio.params import parse as parse_params

RESULTS = Path(__file__).resolve().parent / "results" / "llama-cpp.json"
ASKED = Path(__file__).with_name("llama_cpp_asked.py")
TYPES = ("f16", "bf16", "q8_0")
TOY_PROMPTS = [prompt for prompt, _ in held_out("pirate")[:8]]


@dataclass(frozen=True)
class Said:
    """One side, an entry per prompt: ids of the prompt, greedy answer as ids and as text, logits (positions,
    vocabulary) at the end of the prompt with the studio's answer; and ids of each of the strings."""

    prompts: list[list[int]]
    answers: list[list[int]]
    texts: list[str]
    logits: list[Tensor]
    strings: list[list[int]]


Gap = Callable[[Sequence[int]], float]


def studio_says(subject: Subject, prompts: Sequence[str], strings: Sequence[str] = ()) -> tuple[Said, Gap]:
    """What the studio makes of the prompts, and what tells how far the two likeliest tokens after a text are
    apart."""
    renderer = subject.renderer
    asked = [renderer.encode_prompt([Message.of("user", prompt)]) for prompt in prompts]
    model, tuner = subject.load()
    answers = own_answers(model, asked, renderer.stop_ids)
    logits = [
        last_logits(model, tuner, [[*ids, *answer]])[0] for ids, answer in zip(asked, answers, strict=True)
    ]
    texts = [renderer.decode(answer) for answer in answers]
    said = Said(asked, answers, texts, logits, [renderer.encode_text(text) for text in strings])

    def gap(text: Sequence[int]) -> float:
        first, second = last_logits(model, tuner, [text])[0][-1].topk(2).values
        return float(first - second)

    return said, gap


def llama_cpp_says(
    python: Path, file: Path, prompts: Sequence[str], ours: Said, strings: Sequence[str] = ()
) -> tuple[Said, str]:
    """What llama.cpp makes of them, given the file alone, and the version of llama-cpp-python."""
    lengths = [len(ids) + len(answer) for ids, answer in zip(ours.prompts, ours.answers, strict=True)]
    questions = {
        "file": str(file),
        "positions": POSITIONS,
        "max_tokens": ANSWER_TOKENS,
        "prompts": list(prompts),
        "texts": [[*ids, *answer] for ids, answer in zip(ours.prompts, ours.answers, strict=True)],
        "strings": list(strings),
    }
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "questions.json", Path(folder) / "answers.npz"
        given.write_text(json.dumps(questions), encoding="utf-8")
        # Isolated: the folder of the script holds a module by the package's name.
        subprocess.run([str(python), "-I", str(ASKED), str(given), str(made)], check=True)
        with np.load(made) as read:
            said, joined = json.loads(str(read["said"])), torch.from_numpy(read["logits"])
    answers = said["answers"]
    theirs = Said(
        [entry["prompt"] for entry in answers],
        [entry["answer"] for entry in answers],
        [entry["text"] for entry in answers],
        list(joined.split([min(POSITIONS, length) for length in lengths])),
        said["strings"],
    )
    return theirs, said["version"]


def compared(ours: Said, theirs: Said, gap: Gap) -> dict[str, Any]:
    """How far the two sides agree; `differ` has each prompt (by number) whose answers part, the first token
    where they do, and how far apart the two likeliest tokens are there."""
    found = agreement(ours.logits, theirs.logits, None)
    differ = []
    for i, (mine, other) in enumerate(zip(ours.answers, theirs.answers, strict=True)):
        if mine != other:
            at = first_difference(mine, other)
            differ.append({"prompt": i, "at": at, "gap": gap([*ours.prompts[i], *mine[:at]])})
    return {
        "prompts": len(ours.prompts),
        "same_prompt_ids": same(ours.prompts, theirs.prompts),
        "same_answer_ids": same(ours.answers, theirs.answers),
        "differ": differ,
        "max_difference": found.max_difference,
        "mean_difference": found.mean_difference,
        "largest": found.largest,
    }


def same(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """How many of them are equal."""
    return sum(mine == other for mine, other in zip(ours, theirs, strict=True))


def first_difference(mine: Sequence[int], other: Sequence[int]) -> int:
    """The first place where two answers differ; where one goes on, the length of the other."""
    pairs = enumerate(zip(mine, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(mine), len(other)))


def measure_starter(python: Path, sample: str, home: Path) -> dict[str, Any]:
    """Tune (unless the home has such a run), export, ask."""
    facade = StudioFacade(home, watch=False)
    try:
        known = [run.run for run in facade.runs() if run.state == "done" and run.dataset == sample]
        run = known[0] if known else facade.start("starter", sample)
        trained = list(facade.wait(run))[-1]
        assert trained.state == "done", trained
        asked = ask_exports(facade, home, run, sample, python)
    finally:
        facade.close()
    return {
        "sample": sample,
        "steps": trained.steps,
        "loss": trained.loss,
        "eval_loss": trained.eval_loss,
        **asked,
    }


def ask_exports(facade: StudioFacade, home: Path, run: str, sample: str, python: Path) -> dict[str, Any]:
    """A run of the starter, in each type."""
    prompts = [prompt for prompt, _ in held_out(sample)]
    texts = [playground(facade, f"run:{run}", prompt) for prompt in prompts]
    part = learned_of(Home(home), parse(f"run:{run}"))
    assert part is not None
    ours, gap = studio_says(Subject(assets.path("starter"), "", part.folder, part.tokenizer), prompts)
    version, types = "", {}
    for type in TYPES:
        exported = facade.export(ExportRequest(f"run:{run}", "gguf", {"type": type}))
        assert list(facade.wait(exported))[-1].state == "done"
        product = facade.product(exported)
        assert product.path is not None
        file = Path(product.path) / f"model-{type}.gguf"
        theirs, version = llama_cpp_says(python, file, prompts, ours)
        types[type] = {
            **compared(ours, theirs, gap),
            "same_texts": same(texts, theirs.texts),
            "parity_max_difference": product.facts["parity"]["max_difference"],
        }
        sys.stdout.write(f"{type}: {types[type]}\n")
    return {"llama_cpp_python": version, "types": types}


def playground(facade: StudioFacade, model: str, prompt: str) -> str:
    """The playground's greedy answer."""
    pane = Pane(model, [{"role": "user", "content": prompt}])
    deltas = list(facade.chat(ChatRequest((pane,), Sampling(ANSWER_TOKENS))))
    if (error := deltas[-1].error) is not None:
        raise StudioError.from_dict(error)
    return "".join(delta.text for delta in deltas)


def measure_toys(python: Path) -> dict[str, Any]:
    """Vocabularies and families beside the starter's."""
    results = {}
    format = exports.get("gguf")
    for name, toy in {**TOYS, **PIECE_TOYS}.items():
        # Where a space goes in front depends on what stands before: odd text is asked inside a prompt too.
        prompts = [*TOY_PROMPTS, *STRINGS] if name in PIECE_TOYS else TOY_PROMPTS
        with tempfile.TemporaryDirectory() as temporary:
            base, out = write_toy(Path(temporary) / "base", toy), Path(temporary) / "out"
            subject = Subject(base, "")
            ours, gap = studio_says(subject, prompts, STRINGS)
            made = export(subject, format, parse_params(format.params, {"type": "f16"})[0], out, ours.prompts)
            theirs, _ = llama_cpp_says(python, out / "model-f16.gguf", prompts, ours, STRINGS)
            pairs = zip(STRINGS, ours.strings, theirs.strings, strict=True)
            results[name] = {
                **compared(ours, theirs, gap),
                "strings": len(STRINGS),
                "same_strings": same(ours.strings, theirs.strings),
                "strings_differ": [text for text, mine, other in pairs if mine != other],
                "parity_max_difference": made.parity.max_difference,
            }
            sys.stdout.write(f"{name}: {results[name]}\n")
    return results


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="a Python that has llama-cpp-python")
    parser.add_argument("--sample", default="pirate")
    parser.add_argument(
        "--home", type=Path, help="keep the run and the exports here; a run that is there is asked"
    )
    parser.add_argument("--vocabularies", action="store_true", help="keep what is known of the starter")
    options = parser.parse_args()
    vocabularies = measure_toys(options.python)
    if options.vocabularies:
        document = json.loads(RESULTS.read_text(encoding="utf-8"))
        command = "python -m benchmarks.llama_cpp --python PYTHON --vocabularies"
        write({**document, "vocabularies_command": command, "vocabularies": vocabularies})
        return
    with tempfile.TemporaryDirectory() as temporary:
        starter = measure_starter(options.python, options.sample, options.home or Path(temporary))
    document = {
        "command": f"python -m benchmarks.llama_cpp --python PYTHON --sample {options.sample}",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "answer_tokens": ANSWER_TOKENS,
        "starter": starter,
        "vocabularies": vocabularies,
    }
    write(document)


def write(document: dict[str, Any]) -> None:
    """Write the results."""
    RESULTS.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
