"""Every merge against arithmetic on whole changes written here in numpy, and what is refused."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.errors import StudioError
from studio.identity import file_sha256
from studio.merge.adapter import read_adapter
from studio.merge.combine import Combined, combine
from studio.merges import merges
from studio.params import parse
from tests.merge.adapters import BASE, LAYERS, deltas, write_peft

WHOLE = 32  # the full rank of the tiny model's matrices: nothing is cut off


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters of different rank, scale and reach."""
    root = tmp_path_factory.mktemp("adapters")
    last = LAYERS[-1]
    return [
        write_peft(root / "one", 1),
        write_peft(root / "two", 2, r=6, use_rslora=True, rank_pattern={last: 3}, alpha_pattern={last: 5}),
        write_peft(root / "three", 3, r=2, target_modules=LAYERS[:3]),
    ]


def run(folders: list[Path], how: str, weights: list[float], out: Path, **values: Any) -> Combined:
    merge = merges.get(how)
    params, problems = parse(merge.params, values)
    assert problems == []
    return combine(list(zip(folders, weights, strict=True)), merge, params, out)


def numpy_largest(delta: Any, density: float, outliers: float = 0.0) -> Any:
    """By threshold, not by order: sizes are all different."""
    sizes = np.sort(np.abs(delta).ravel())[::-1]
    first, kept = round(outliers * sizes.size), round(density * sizes.size)
    window = sizes[first : first + kept]
    return np.where((np.abs(delta) <= window[0]) & (np.abs(delta) >= window[-1]), delta, 0.0)


def numpy_ties(changes: list[Any], weights: list[float], sign: str) -> Any:
    turned = np.stack([np.sign(w) * c for c, w in zip(changes, weights, strict=True)])
    votes = (np.sign(turned) if sign == "frequency" else turned).sum(0)
    agree = np.sign(turned) == np.where(votes >= 0, 1, -1)
    scaled = np.abs(weights)[:, None, None] * turned
    return (scaled * agree).sum(0) / np.maximum(agree.sum(0), 1)


def expected(how: str, changes: list[Any], weights: list[float], values: dict[str, Any]) -> Any:
    if how == "magnitude_prune":
        changes = [numpy_largest(c, values["density"]) for c in changes]
    if how == "breadcrumbs":
        changes = [numpy_largest(c, values["density"], values["outliers"]) for c in changes]
    if how == "ties":
        kept = [numpy_largest(c, values["density"]) for c in changes]
        return numpy_ties(kept, weights, values.get("sign", "total"))
    return sum(w * c for c, w in zip(changes, weights, strict=True))


CASES: list[tuple[str, dict[str, Any]]] = [
    ("linear", {}),
    ("cat", {}),
    ("svd", {"rank": WHOLE}),
    ("magnitude_prune", {"density": 0.3, "rank": WHOLE}),
    ("breadcrumbs", {"density": 0.4, "outliers": 0.05, "rank": WHOLE}),
    ("ties", {"density": 0.3, "rank": WHOLE}),
    ("ties", {"density": 0.3, "sign": "frequency", "rank": WHOLE}),
]


@pytest.mark.parametrize(("how", "values"), CASES)
@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.2], [1.0, -0.7, 2.0]])
def test_equals_the_arithmetic_on_whole_changes(
    folders: list[Path], tmp_path: Path, how: str, values: dict[str, Any], weights: list[float]
) -> None:
    made = run(folders, how, weights, tmp_path / "out", **values)
    before, after = [deltas(folder) for folder in folders], deltas(made.folder)
    assert set(after) == set(LAYERS)
    for path in LAYERS:
        there = [(d[path], w) for d, w in zip(before, weights, strict=True) if path in d]
        wanted = expected(how, [d for d, _ in there], [w for _, w in there], values)
        assert np.abs(wanted - after[path]).max() <= 1e-5
    assert made.error < 1e-5


@pytest.mark.parametrize("how", ["dare_linear", "dare_ties"])
def test_dare_drops_at_random_and_makes_up_for_it(folders: list[Path], tmp_path: Path, how: str) -> None:
    """Each number is the rule's answer to one of the ways in which some of the adapters lost theirs."""
    density, weights = 0.25, [0.6, -0.4]
    made = run(folders[:2], how, weights, tmp_path / "out", density=density, rank=WHOLE)
    before, after = [deltas(folder) for folder in folders[:2]], deltas(made.folder)
    drawn = 0
    for path in LAYERS:
        changes = [d[path] / density for d in before]
        ways = []
        for kept in product((0.0, 1.0), repeat=2):
            left = [k * c for k, c in zip(kept, changes, strict=True)]
            summed = sum(w * c for c, w in zip(left, weights, strict=True))
            ways.append(numpy_ties(left, weights, "total") if how == "dare_ties" else summed)
        assert np.abs(np.stack(ways) - after[path]).min(0).max() <= 1e-5
        drawn += int((np.abs(after[path]) > 1e-5).sum())
    share, count = 1 - (1 - density) ** 2, sum(a.size for a in after.values())
    assert abs(drawn / count - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_the_seed_decides_and_company_does_not(folders: list[Path], tmp_path: Path) -> None:
    def saved(name: str, **values: Any) -> str:
        made = run(folders[:1], "dare_linear", [1.0], tmp_path / name, rank=WHOLE, **values)
        return file_sha256(made.folder / "adapter_model.safetensors")

    assert saved("a", seed=3) == saved("b", seed=3) != saved("c", seed=4)


def test_agrees_with_pefts_own_ties(folders: list[Path], tmp_path: Path) -> None:
    from peft import PeftModel

    from tests.toys.folders import tiny_model

    weights, density = [0.7, 0.3], 0.5
    model = PeftModel.from_pretrained(tiny_model(), str(folders[0]), adapter_name="a")
    model.load_adapter(str(folders[1]), adapter_name="b")
    names = ["a", "b"]
    model.add_weighted_adapter(  # type: ignore[operator]
        names, weights, "c", combination_type="ties_svd", density=density, svd_rank=16
    )
    made = run(folders[:2], "ties", weights, tmp_path / "out", density=density, rank=16)
    ours = deltas(made.folder)
    layer: Any = model.get_base_model().get_submodule(LAYERS[0])
    theirs = layer.get_delta_weight("c").detach().numpy()
    assert np.abs(theirs - ours[LAYERS[0]]).max() <= 1e-5


def test_rank_is_cut_to_the_best_approximation_and_the_loss_is_said(
    folders: list[Path], tmp_path: Path
) -> None:
    made = run(folders[:2], "svd", [0.5, 0.5], tmp_path / "out", rank=3)
    before, after = [deltas(folder) for folder in folders[:2]], deltas(made.folder)
    lost = wanted = 0.0
    for path in LAYERS:
        whole = 0.5 * before[0][path] + 0.5 * before[1][path]
        u, s, vh = np.linalg.svd(whole)
        assert np.abs(u[:, :3] * s[:3] @ vh[:3] - after[path]).max() <= 1e-5
        lost, wanted = lost + (s[3:] ** 2).sum(), wanted + (s**2).sum()
    assert made.error == pytest.approx((lost / wanted) ** 0.5, rel=1e-4)
    assert made.rank == 3
    assert made.error > 0.1


def test_ranks_are_the_sum_side_by_side_and_no_more_than_needed_in_the_sum(
    folders: list[Path], tmp_path: Path
) -> None:
    assert run([folders[0]] * 2, "cat", [0.5, 0.5], tmp_path / "cat").rank == 8
    assert run([folders[0]] * 2, "linear", [0.5, 0.5], tmp_path / "linear").rank == 4


def test_one_adapter_is_scaled_and_turned_around(folders: list[Path], tmp_path: Path) -> None:
    made = run(folders[:1], "linear", [-2.0], tmp_path / "out")
    before, after = deltas(folders[0]), deltas(made.folder)
    assert max(np.abs(-2.0 * before[path] - after[path]).max() for path in LAYERS) <= 1e-5


def test_matrices_that_are_held_the_other_way_round(tmp_path: Path) -> None:
    layers = ["transformer.h.0.mlp.c_fc"]
    settings = {"family": "gpt2", "target_modules": layers, "fan_in_fan_out": True}
    folders = [write_peft(tmp_path / str(seed), seed, **settings) for seed in (1, 2)]
    made = run(folders, "cat", [0.5, 0.5], tmp_path / "out")
    before = [deltas(folder, "gpt2")[layers[0]] for folder in folders]
    assert np.abs(0.5 * before[0] + 0.5 * before[1] - deltas(made.folder, "gpt2")[layers[0]]).max() <= 1e-5


def test_a_combined_adapter_says_what_it_is_made_of(folders: list[Path], tmp_path: Path) -> None:
    made = run(folders[:2], "ties", [1.0, 1.0], tmp_path / "out", density=0.4)
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert (manifest["method"], manifest["base"], manifest["model"]) == ("lora", BASE, "path:tiny")
    assert manifest["method_params"]["rank"] == made.rank == 6
    facts = manifest["merge"]
    assert (facts["how"], facts["params"]["density"], facts["error"]) == ("ties", 0.4, made.error)
    assert [given["weight"] for given in facts["inputs"]] == [1.0, 1.0]
    assert len({given["hash"] for given in facts["inputs"]}) == 2


def refusal(*arguments: Any, **values: Any) -> StudioError:
    with pytest.raises(StudioError) as refused:
        run(*arguments, **values)
    return refused.value


def test_adapters_of_different_bases_are_refused_by_hash(folders: list[Path], tmp_path: Path) -> None:
    other = write_peft(tmp_path / "other", 4, base="c" * 64)
    error = refusal([folders[0], other], "linear", [0.5, 0.5], tmp_path / "out")
    assert error.code == "merge_bases_differ"
    assert error.facts == {"paths": [str(folders[0]), str(other)], "bases": [BASE, "c" * 64]}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"use_dora": True}, ["dora"]),
        ({"trainable_token_indices": [3]}, ["tokens"]),
        ({"modules_to_save": ["lm_head"]}, ["modules"]),
    ],
)
def test_what_is_no_change_of_matrices_alone_is_refused(
    tmp_path: Path, config: dict[str, Any], parts: list[str]
) -> None:
    folder = write_peft(tmp_path / "one", 1, **config)
    error = refusal([folder], "linear", [1.0], tmp_path / "out")
    assert (error.code, error.facts["parts"]) == ("merge_not_plain", parts)


def test_an_adapter_of_an_unknown_base_is_refused(tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "one", 1)
    (folder / "manifest.json").unlink()
    assert refusal([folder], "linear", [1.0], tmp_path / "out").code == "merge_base_unknown"


def test_nothing_is_left_of_a_merge_that_was_ended(folders: list[Path], tmp_path: Path) -> None:
    class Ended(Exception):
        pass

    def end(share: float) -> None:
        if share > 0.5:
            raise Ended

    merge = merges.get("linear")
    with pytest.raises(Ended):
        combine([(folders[0], 1.0)], merge, merge.params(), tmp_path / "out", progress=end)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("density", [0.05, 0.2, 1.0])
def test_compression_is_ternary_small_and_comes_back(
    folders: list[Path], tmp_path: Path, density: float
) -> None:
    linear = merges.get("cat")
    made = combine([(folders[0], 1.0)], linear, linear.params(), tmp_path / "out", density=density)
    plain, packed = read_adapter(folders[0]), read_adapter(made.folder)
    lost = wanted = 0.0
    for name, tensor in packed.tensors.items():
        flat, original = np.asarray(tensor).ravel(), np.asarray(plain.tensors[name]).ravel()
        if name.endswith("lora_B.weight"):
            original = 2.0 * original  # alpha / rank is inside now
        kept = np.argsort(-np.abs(original), kind="stable")[: max(1, round(density * original.size))]
        ternary = np.zeros_like(original)
        ternary[kept] = np.sign(original[kept]) * np.abs(original[kept]).mean()
        assert np.abs(flat - ternary).max() <= 1e-6
    for path in LAYERS:
        whole = plain.factors(path).whole()
        lost += float((packed.factors(path).whole() - whole).square().sum())
        wanted += float(whole.square().sum())
    assert made.compression_error == pytest.approx((lost / wanted) ** 0.5, rel=1e-4)
    # And back into a form that plain PEFT reads.
    again = run([made.folder], "cat", [1.0], tmp_path / "again")
    after = deltas(again.folder)
    for path in LAYERS:
        assert np.abs(after[path] - packed.factors(path).whole().numpy()).max() <= 1e-5


@pytest.mark.skipif(os.name == "nt", reason="files have no modes there")
@pytest.mark.parametrize("density", [None, 0.2])
def test_whoever_may_read_the_settings_may_read_the_weights(
    folders: list[Path], tmp_path: Path, density: float | None
) -> None:
    before = os.umask(0o027)
    try:
        cat = merges.get("cat")
        made = combine([(folders[0], 1.0)], cat, cat.params(), tmp_path / "out", density=density)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in made.folder.iterdir()} == {0o640}


def test_large_gaps_between_kept_numbers_come_back(tmp_path: Path) -> None:
    import torch

    from studio.merge import compeft

    tensor = torch.zeros(3, 1000)
    for place, value in ((0, 2.0), (255, -2.0), (765, 2.0), (2999, -2.0)):
        tensor.view(-1)[place] = value
    compeft.save({"t": tensor}, tmp_path / "t.safetensors", 4 / 3000)
    assert torch.equal(compeft.load(tmp_path / "t.safetensors")["t"], tensor)
