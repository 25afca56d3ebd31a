"""What every method must keep, tried on each of them and on the toys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studio import params
from studio.data.render import Renderer
from studio.generate.request import BASE
from studio.generate.tuned import Shared, TunedDecoders
from studio.methods import Method
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.plan import Plan, methods
from studio.train.loss import token_losses
from studio.train.objective import pad
from studio.train.tuner import Tuner, make_tuner
from studio.train.undisturbed import undisturbed
from tests.toys.folders import sums, tiny_plan, write_model, write_run
from tests.toys.methods import TOYS
from tests.toys.runs import Ran, assert_same_bits, kill_at, run_plan, saved_tensors
from tests.toys.tuned import greedy, logits, root, untouched

METHODS = list(methods.all())
# Forms of a method that its params make, each a case of its own: method and settings.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rslora": ("lora", {"rslora": True, "alpha": 4}),
    "dora": ("lora", {"dora": True}),
    "gaussian": ("lora", {"init": "gaussian"}),
    "orthogonal": ("lora", {"init": "orthogonal"}),
    "pissa": ("lora", {"init": "pissa"}),
    "olora": ("lora", {"init": "olora"}),
    "eva": ("lora", {"init": "eva"}),
    "corda": ("lora", {"init": "corda"}),
    "lora_ga": ("lora", {"init": "lora_ga"}),
    "lora_plus": ("lora", {"lora_plus": 16}),
    "tokens": ("lora", {"trainable_tokens": "<|assistant|>,7", "targets": "all-linear"}),
    "whole_modules": ("lora", {"modules_to_save": "norm,lm_head,k_proj"}),
    "pissa_dora_rslora": ("lora", {"init": "pissa", "dora": True, "rslora": True, "alpha": 4}),
    "loftq": ("qlora", {"init": "loftq"}),
    "qlora_of_all": (
        "qlora",
        {"init": "eva", "dora": True, "trainable_tokens": "4", "modules_to_save": "norm"},
    ),
    "side_linear": ("lst", {"downsampler": "linear", "tap_bits": "16"}),
    "side_max": ("qst", {"downsampler": "max", "output": "side"}),
    "side_average": ("lst", {"downsampler": "average", "skip_every": 2, "pointers": 0}),
    "side_pruned": ("lst", {"init": "pruned", "reduction": 2, "tap_bits": "16"}),
    "frozen": ("full", {"freeze_embeddings": True, "freeze_layers": 1}),
}
PRODUCT = [*METHODS, *VARIANTS]
ALL = [*PRODUCT, *(toy.id for toy in TOYS)]
# Losses of three steps on the tiny model, fp32, one thread or several: within 1e-4.
PINNED = {
    "lst": [6.495773, 8.548186, 7.148499],
    "full": [6.495773, 4.834436, 3.790717],
    "qlora": [7.083440, 5.759373, 5.141692],
    "qst": [7.083440, 8.974918, 9.758555],
    "lora": [6.495773, 6.029424, 5.141819],
    "rslora": [6.495773, 6.195527, 5.417294],
    "dora": [6.495773, 5.981276, 5.095375],
    "gaussian": [6.495773, 5.832854, 4.976553],
    "orthogonal": [6.495773, 5.904279, 5.040283],
    "pissa": [6.602748, 5.494693, 4.461919],
    "olora": [6.711727, 5.361119, 4.691733],
    "eva": [6.495773, 5.287579, 4.126850],
    "corda": [6.555261, 5.016941, 4.169288],
    "lora_ga": [6.627580, 5.766346, 4.573830],
    "lora_plus": [6.495773, 5.159585, 4.214619],
    "tokens": [6.495773, 6.022725, 5.116622],
    "whole_modules": [6.495773, 5.548269, 4.461885],
    "pissa_dora_rslora": [6.602749, 5.568890, 4.512048],
    "loftq": [6.856783, 5.772372, 4.882708],
    "qlora_of_all": [7.083440, 5.193101, 4.290368],
    "side_linear": [6.495773, 7.473385, 6.506407],
    "side_max": [5.759981, 4.110942, 3.313163],
    "side_average": [6.495773, 6.277856, 5.544135],
    "side_pruned": [6.495773, 10.704183, 5.590583],
    "frozen": [6.495773, 5.419910, 4.554246],
    "toy_shift": [6.489348, 6.687674, 6.295924],
    "toy_search": [6.489438, 6.710764, 6.327485],
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def _plan(case: str, **settings: Any) -> Plan:
    """Two epochs of 6 steps; the warm-up is short, so that the first steps count."""
    method, more = VARIANTS.get(case, (case, {}))
    return tiny_plan(method, warmup=0.0, **{**more, **settings})


def _declared(case: str) -> tuple[Method, Any]:
    """The method of a case and its params there."""
    plan = _plan(case)
    return methods.get(plan.method), plan.method_params


def _run(method: str, model_folder: Path, folder: Path, patch: pytest.MonkeyPatch, **more: Any) -> Ran:
    settings = more.pop("settings", {})
    if not folder.exists():
        write_run(folder, sums(24), sums(9, 100))
    return run_plan(_plan(method, **settings), model_folder, folder, patch, **more)


@dataclass(frozen=True)
class Finished:
    """A whole run of a case: what it gave, its folder, and the model's logits in memory at its end."""

    ran: Ran
    folder: Path
    logits: Tensor

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"


@pytest.fixture(scope="module")
def finished(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """The finished run of a case, made once for all tests that only look at it."""

    @cache
    def run(case: str) -> Finished:
        seen: list[Tensor] = []

        def look(boundary: int, model: nn.Module) -> None:
            if boundary == 12:
                with undisturbed(model):
                    seen.append(logits(model, make_tuner(_plan(case))))

        folder = tmp_path_factory.mktemp(case) / "run"
        ran = _run(case, model_folder, folder, pytest.MonkeyPatch(), at=look)
        return Finished(ran, folder, seen[0])

    return run


def test_every_file_is_a_case() -> None:
    folder = Path(__file__).parents[2] / "studio" / "methods"
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len(METHODS) == len(files)
    assert set(PINNED) == set(ALL)


@pytest.mark.parametrize("method", ALL)
def test_defaults_parse_and_every_field_has_help(method: str) -> None:
    declared = _declared(method)[0].params
    parsed, problems = params.parse(declared, params.to_dict(declared()))
    assert problems == []
    assert parsed == declared()
    for info in params.describe(declared):
        assert len(info.help) > 15, info.name


@pytest.mark.parametrize("method", METHODS)
def test_the_card_says_what_it_does_what_it_costs_and_when_to_take_it(method: str) -> None:
    declared = methods.get(method)
    does, *costs, when = declared.summary.split(". ")
    assert len(does) > 15
    assert any(word in " ".join([does, *costs]) for word in ("memory", "time", "slower"))
    assert when.startswith("Take it ")
    assert 100 < len(declared.summary) < 280
    assert declared.mergeable or "cannot be merged" in declared.summary


@pytest.mark.parametrize("method", ALL)
def test_three_steps_have_the_pinned_losses(
    method: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = _run(method, model_folder, tmp_path / "run", monkeypatch, settings={"steps": 3})
    assert ran.recorder.curve() == pytest.approx(PINNED[method], abs=1e-4)


@pytest.mark.parametrize("method", ALL)
def test_training_leaves_the_base_alone(method: str, finished: Callable[[str], Finished]) -> None:
    ran = finished(method).ran
    assert len(ran.untouched) == 21
    declared, chosen = _declared(method)
    moves = [declared.capable(capability, chosen) for capability in ("trains_base", "rewrites_base")]
    assert (ran.base_changes() != []) == any(moves)


@pytest.mark.parametrize("method", ALL)
def test_saved_and_loaded_onto_the_untouched_base(
    method: str, model_folder: Path, finished: Callable[[str], Finished]
) -> None:
    run, tuner = finished(method), make_tuner(_plan(method))
    base = logits(untouched(_plan(method), model_folder), Tuner(None))
    loaded = logits(tuner.load(untouched(_plan(method), model_folder), run.adapter), tuner)
    declared, chosen = _declared(method)
    if declared.capable("rewrites_base", chosen):
        # The same product, added up in another order.
        torch.testing.assert_close(loaded, run.logits, rtol=1e-5, atol=2e-5)
    else:
        assert torch.equal(loaded, run.logits)
    assert (loaded - base).abs().max() > 0.01


@pytest.mark.parametrize("method", ALL)
def test_evaluating_and_generating_in_mid_training_change_nothing(
    method: str,
    model_folder: Path,
    finished: Callable[[str], Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def generate(boundary: int, model: nn.Module) -> None:
        del boundary
        with undisturbed(model):
            model.generate(  # type: ignore[operator]
                torch.arange(4, 14)[None], max_new_tokens=3, do_sample=True, pad_token_id=0
            )

    quiet = finished(method)
    busy = _run(method, model_folder, tmp_path / "busy", monkeypatch, at=generate, settings={"eval_every": 1})
    assert busy.recorder.curve() == quiet.ran.recorder.curve()
    assert len(busy.recorder.metrics["eval_loss"]) == 12
    assert_same_bits(tmp_path / "busy" / "adapter", quiet.adapter)


# 6 steps an epoch, a checkpoint every 2 steps, an evaluation every 5: killed in the first epoch, in the
# second, right after an evaluation (whose best is a checkpoint of its own), and between two epochs.
KILLS = {"first epoch": 3, "second epoch": 9, "after an evaluation": 5, "at the turn of an epoch": 6}


# Every method once, every kill once; the whole grid with the slow tests.
_OFTEN = [(method, "second epoch") for method in ALL] + [(METHODS[0], kill) for kill in KILLS]
GRID = [
    pytest.param(method, kill, marks=() if (method, kill) in _OFTEN else pytest.mark.slow)
    for method in ALL
    for kill in KILLS
    if method not in VARIANTS or kill == "second epoch"
]


@pytest.mark.parametrize(("method", "kill"), GRID)
def test_killed_and_resumed_equals_undisturbed(
    method: str, kill: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"eval_every": 5}
    whole = _run(method, model_folder, tmp_path / "whole", monkeypatch, settings=settings)
    cut = tmp_path / "cut"
    common: dict[str, Any] = {"settings": settings, "save_every": 2}
    killed = _run(method, model_folder, cut, monkeypatch, at=kill_at(KILLS[kill]), **common)
    assert killed.result is None
    resumed = _run(method, model_folder, cut, monkeypatch, **common)
    assert "resumed" in resumed.recorder.kinds()
    both = killed.recorder.metrics["loss"] | resumed.recorder.metrics["loss"]
    assert both == whole.recorder.metrics["loss"]
    evals = killed.recorder.metrics.get("eval_loss", {}) | resumed.recorder.metrics["eval_loss"]
    assert evals == whole.recorder.metrics["eval_loss"]
    assert resumed.recorder.metrics["tokens"][12] == whole.recorder.metrics["tokens"][12]
    assert_same_bits(cut / "adapter", tmp_path / "whole" / "adapter")


@pytest.mark.parametrize("method", ALL)
def test_rows_alone_and_padded_together_have_the_same_loss(
    method: str, model_folder: Path, finished: Callable[[str], Finished]
) -> None:
    run, tuner = finished(method), make_tuner(_plan(method))
    anatomy = Anatomy(root(tuner.load(untouched(_plan(method), model_folder), run.adapter)))
    renderer = Renderer.from_folder(run.folder / "tokenizer")
    rows = [renderer.encode(row.streams["text"]) for row in sums(6)]

    def losses(some: list[Any]) -> Tensor:
        batch = pad(some, renderer.pad_id)
        with torch.no_grad():
            return token_losses(anatomy, tuner.hidden(anatomy, batch), batch).tokens

    assert len({len(row.ids) for row in rows}) > 2
    torch.testing.assert_close(losses(rows), torch.cat([losses([row]) for row in rows]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", PRODUCT)
def test_merged_equals_adapter(method: str, model_folder: Path, finished: Callable[[str], Finished]) -> None:
    declared, chosen = _declared(method)
    if not declared.capable("mergeable", chosen):
        pytest.skip("not declared mergeable")
    run, tuner = finished(method), make_tuner(_plan(method))
    tuned = tuner.load(untouched(_plan(method), model_folder), run.adapter)
    before = logits(tuned, tuner)
    merged = tuner.merge(tuned)
    assert {name for name, _ in merged.named_parameters()} == set(run.ran.untouched)
    torch.testing.assert_close(logits(merged, Tuner(None)), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", PRODUCT)
def test_answers_beside_the_base_as_declared(
    method: str, model_folder: Path, finished: Callable[[str], Finished]
) -> None:
    folder = finished(method).adapter
    prompts = [torch.arange(4, 24)[None], torch.arange(9, 20)[None]]
    common: dict[str, Any] = {
        "max_new_tokens": 8,
        "do_sample": False,
        "pad_token_id": 0,
        "eos_token_id": None,
    }

    def own(model: Any) -> list[list[int]]:
        return [model.generate(ids, **common)[0, ids.shape[1] :].tolist() for ids in prompts]

    base, (declared, chosen) = load_model(model_folder, dtype=torch.float32, device="cpu"), _declared(method)
    untuned = own(base)
    alone = own(make_tuner(_plan(method)).load(untouched(_plan(method), model_folder), folder))
    assert alone != untuned
    copies = partial(load_model, model_folder, dtype=torch.float32, device="cpu")
    beside = Shared(base)
    shared, name = beside.decoder, BASE
    tuned = shared
    if declared.served(chosen) == "batched":
        name = beside.adapters.require(folder)
    else:
        held = TunedDecoders(beside, lambda quantisation: copies(quantisation=quantisation))
        tuned, name = held.require(folder, declared, chosen)
        assert (tuned.model is base) == (declared.served(chosen) == "switched")
    both = greedy([(shared, BASE), (tuned, name)] * 2, [prompts[0], prompts[0], prompts[1], prompts[1]], 8)
    assert [both[0], both[2]] == untuned
    assert [both[1], both[3]] == alone


def test_saving_names_no_path_of_this_machine(
    model_folder: Path, finished: Callable[[str], Finished]
) -> None:
    run = finished("lora")
    for file in run.adapter.glob("*.json"):
        assert str(model_folder.parent) not in file.read_text(encoding="utf-8")
    assert len(saved_tensors(run.adapter)) == 28
