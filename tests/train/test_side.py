"""The ladder beside tiny models of every family: it starts as the backbone, and generates as it computes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studio.errors import StudioError
from studio.generate.decode import generate
from studio.generate.request import Request, Sampling
from studio.methods.lst import LstParams, choose, memory
from studio.methods.qst import QstParams
from studio.models.anatomy import Anatomy
from studio.models.config import facts_of
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.plan import Settings
from studio.train.side import pointer
from studio.train.side.blocks import Projection, downsampler, rope
from studio.train.side.pointer import _Pointed
from studio.train.side.shape import side_shape
from studio.train.side.tuner import SideTuner, ladder
from studio.train.tuner import TunerContext
from tests.toys.folders import OTHER_CONFIGS, tiny_model, tiny_plan, write_model

FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "gpt2",
    "opt",
    "gpt_neox",
    "falcon",
    *OTHER_CONFIGS,
)


def _context(anatomy: Anatomy, **settings: Any) -> TunerContext:
    generator = torch.Generator().manual_seed(5)
    return TunerContext(
        tiny_plan("lst", **settings), anatomy, generator, lambda _: iter(()), lambda _: torch.zeros(())
    )


def _fresh(family: str = "llama", **params: Any) -> tuple[nn.Module, SideTuner]:
    """A model with a side network as it is before the first step."""
    model = tiny_model(family).requires_grad_(False)
    tuner = SideTuner(LstParams(**params))
    return tuner.prepare(model, _context(Anatomy(model))), tuner


def _trained(family: str = "llama", **params: Any) -> tuple[Any, SideTuner]:
    """The same with every side weight moved away from its start, as training would."""
    model, tuner = _fresh(family, **params)
    _move(model)
    return model.eval(), tuner


def _move(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in ladder(model).network.named_parameters():
            # What a pointer's gate says counts for more than its weights do.
            distance = 0.002 if name == "pointer.gate.weight" else 0.2
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=distance)


def _ids(rows: int, length: int, seed: int = 1) -> Tensor:
    return torch.randint(4, 260, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_starts_as_the_backbone_bit_for_bit(family: str) -> None:
    ids = _ids(2, 24)
    own = tiny_model(family)(ids).logits
    model, tuner = _fresh(family)
    assert torch.equal(model(ids).logits, own)
    moved, tuner = _trained(family)
    assert (moved(ids).logits - own).abs().max() > 0.01
    with tuner.disabled(moved):
        assert torch.equal(moved(ids).logits, own)


@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_starts_as_its_4_bit_backbone(precision: torch.dtype, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = load_model(folder, dtype=precision, device="cpu", quantisation=Quantisation("nf4", double=True))
    ids = _ids(2, 24)
    own = model(ids).logits
    SideTuner(QstParams()).prepare(model, _context(Anatomy(model)))
    assert torch.equal(model(ids).logits, own)
    assert (own - tiny_model()(ids).logits).abs().max() > 0.01


def _generated(model: Any, ids: Tensor, **more: Any) -> Any:
    """Six tokens greedily, with the logits of each step (steps, B, V)."""
    common = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    return model.generate(ids, **common, output_logits=True, return_dict_in_generate=True, **more)


def _assert_same_with_and_without_a_cache(model: Any) -> None:
    """Of two rows padded on the left. Additions come in another order, so the difference is rounding, which
    goes with the size of the logits: at most 1e-5 of the largest (up to 2e-6 is usual; `output=side`, whose
    logits come through the side network whole, has twice the rounding of `mix`)."""
    rows, width = [_ids(1, 20, 2), _ids(1, 13, 3)], 20
    ids = torch.cat([torch.nn.functional.pad(row, (width - row.shape[1], 0)) for row in rows])
    mask = torch.cat([torch.nn.functional.pad(torch.ones_like(r), (width - r.shape[1], 0)) for r in rows])
    cached = _generated(model, ids, attention_mask=mask)
    again = _generated(model, ids, attention_mask=mask, use_cache=False)
    wanted, found = torch.stack(again.logits), torch.stack(cached.logits)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    for number, row in enumerate(rows):
        alone = _generated(model, row)
        assert torch.equal(cached.sequences[number, width:], alone.sequences[0, row.shape[1] :])


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_cache_and_left_padding_change_nothing(family: str) -> None:
    _assert_same_with_and_without_a_cache(_trained(family)[0])


@torch.no_grad()
@pytest.mark.parametrize(
    "params",
    [
        {"downsampler": "linear"},
        {"downsampler": "max"},
        {"downsampler": "average", "pointers": 0},
        {"skip_every": 2, "tap_bits": "16"},
        {"output": "side"},
    ],
)
def test_cache_and_left_padding_change_nothing_for_any_form(params: dict[str, Any]) -> None:
    _assert_same_with_and_without_a_cache(_trained("llama", **params)[0])


@torch.no_grad()
@pytest.mark.parametrize("output", ["mix", "side"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_cache_and_left_padding_change_nothing_beside_4_bit(kind: str, output: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    base = load_model(folder, dtype=torch.float32, device="cpu", quantisation=Quantisation(kind, double=True))
    tuner = SideTuner(QstParams(quant=kind, output=output))
    model = tuner.prepare(base, _context(Anatomy(base)))
    _move(model)
    _assert_same_with_and_without_a_cache(model.eval())


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_beams_and_sampling_equal_those_without_a_cache(family: str) -> None:
    model, _ = _trained(family)
    ids = _ids(2, 9, 4)
    common = {"max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": None}
    for options in ({"num_beams": 3, "do_sample": False}, {"do_sample": True, "temperature": 0.8}):
        torch.manual_seed(0)
        cached = model.generate(ids, **common, **options)
        torch.manual_seed(0)
        assert torch.equal(model.generate(ids, use_cache=False, **common, **options), cached)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_studio_decoding_equals_generate(family: str) -> None:
    model, _ = _trained(family)
    prompts = [_ids(1, 15, 5), _ids(1, 7, 6), _ids(1, 11, 7)]
    answers: dict[int, list[int]] = {0: [], 1: [], 2: []}
    requests = [Request(tuple(p[0].tolist()), Sampling(), frozenset(), 6 + i) for i, p in enumerate(prompts)]
    for token in generate(model, requests):
        assert token.id is not None
        answers[token.row].append(token.id)
    for number, prompt in enumerate(prompts):
        whole = model.generate(
            prompt, max_new_tokens=6 + number, do_sample=False, pad_token_id=0, eos_token_id=None
        )
        assert answers[number] == whole[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("kind", ["adapter", "linear", "max", "average"])
def test_every_side_weight_learns_and_no_other(kind: str) -> None:
    model, tuner = _trained("llama", downsampler=kind)
    model.train()
    ids = _ids(2, 12)
    anatomy = Anatomy(model)
    states = tuner.hidden(anatomy, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).states
    anatomy.logits(states).logsumexp(-1).sum().backward()
    network = ladder(model).network
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {
        f"side.{name}" for name, _ in network.named_parameters()
    }
    assert network.training
    assert not anatomy.decoder.training


@pytest.mark.parametrize("params", [{}, {"downsampler": "linear"}, {"downsampler": "max", "output": "side"}])
def test_declared_memory_counts_the_tensors_that_train(params: dict[str, Any]) -> None:
    model, _ = _fresh("llama", **params)
    trained = sorted(tuple(p.shape) for p in model.parameters() if p.requires_grad)
    terms = memory(facts_of(model.config.to_dict()), LstParams(**params), Settings(precision="fp32"))
    assert sorted(terms.trainable) == trained
    assert terms.trained_bytes == 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_only_side_tensors_are_saved_and_another_base_is_refused(tmp_path: Path) -> None:
    model, tuner = _trained("llama")
    tuner.save(model, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"side.safetensors", "side.json"}
    loaded = tuner.load(tiny_model("llama"), tmp_path)
    ids = _ids(1, 10)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    for changes in ({"hidden_size": 64}, {"num_hidden_layers": 1}):
        with pytest.raises(StudioError) as refusal:
            tuner.load(tiny_model("llama", **changes), tmp_path)
        assert refusal.value.code == "adapter_unfit"


@torch.no_grad()
def test_a_rung_mixes_tap_and_state_by_its_gate() -> None:
    """block((1 - b) down(tap) + b state), b = sigmoid(gate), one half at the start (QST, section 3.2)."""
    model, _ = _fresh("llama")
    network = ladder(model).network
    assert network.gates.tolist() == [0.0, 0.0]
    network.gates[1] = 1.5
    generator = torch.Generator().manual_seed(3)
    tap, state = (torch.randn(2, 7, width, generator=generator) for width in (32, network.shape.width))
    by = rope(torch.arange(7)[None], network.shape.head_dim, torch.float32)
    for rung, share in ((0, 0.5), (1, 1 / (1 + math.exp(-1.5)))):
        mixed = (1 - share) * network.downs[rung](tap) + share * state
        expected = network.blocks[rung](mixed, by, None, None)
        torch.testing.assert_close(network.rung(rung, state, tap, by, None, None), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_puts_neighbours_together(kind: str) -> None:
    tap = torch.randn(3, 5, 192, generator=torch.Generator().manual_seed(3))
    groups = tap.view(3, 5, 64, 3)
    pooled = groups.amax(-1) if kind == "max" else groups.mean(-1)
    expected = pooled / pooled.square().mean(-1, keepdim=True).sqrt()
    shape = side_shape(192, 2, LstParams(reduction=3, downsampler=kind))
    torch.testing.assert_close(downsampler(shape)(tap), expected, rtol=1e-4, atol=1e-5)


def test_layers_can_be_left_out() -> None:
    model, _ = _fresh("llama", skip_every=2)
    assert ladder(model).network.shape.taps == (1,)
    with pytest.raises(StudioError) as refusal:
        _fresh("llama", skip_every=1)
    assert refusal.value.code == "side_without_layers"
    assert side_shape(512, 12, LstParams(skip_every=4)).taps == (1, 2, 3, 5, 6, 7, 9, 10, 11)


@torch.no_grad()
def test_lst_output_is_the_side_network_alone() -> None:
    model, _ = _fresh("llama", output="side")
    ids = _ids(1, 10)
    before = model(ids).logits
    Anatomy(model).norm.weight.mul_(2)  # the backbone's last step no longer counts
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize(
    ("hidden", "reduction", "width", "heads"),
    [(32, 1, 32, 2), (192, 3, 64, 2), (512, 8, 64, 2), (896, 14, 64, 2), (4096, 16, 256, 4)],
)
def test_width_heads_and_reduction(hidden: int, reduction: int, width: int, heads: int) -> None:
    facts = facts_of({**tiny_model().config.to_dict(), "hidden_size": hidden, "num_attention_heads": 4})
    chosen, reasons = choose(LstParams(), facts)
    shape = side_shape(hidden, 2, chosen)
    assert (chosen.reduction, shape.width, shape.heads) == (reduction, width, heads)
    assert reasons["reduction"].code == ("reduction_usual" if hidden >= 1024 else "reduction_narrow")
    assert shape.head_dim % 2 == 0


def test_cache_of_the_bare_model_is_refused() -> None:
    model, tuner = _trained("llama")
    ids = _ids(1, 10)
    with tuner.disabled(model), torch.no_grad():
        cache = model(ids, use_cache=True).past_key_values
    with pytest.raises(StudioError) as refusal:
        model(ids[:, :1], past_key_values=cache)
    assert refusal.value.code == "cache_without_side"


_WIDE = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "head_dim": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
}


def _in_16_bit(layers: int) -> Any:
    return tiny_model("llama", num_hidden_layers=layers, **_WIDE).bfloat16()


def _saved_bytes(
    model: Any, skip_every: int = 0, kind: str = "adapter", tap_bits: str = "16", length: int = 64
) -> int:
    """Bytes of the storages that one bf16 forward pass keeps for the backward pass, weights aside."""
    tuner = SideTuner(LstParams(reduction=8, skip_every=skip_every, downsampler=kind, tap_bits=tap_bits))
    anatomy = Anatomy(model.requires_grad_(False))
    tuner.prepare(model, _context(anatomy, precision="bf16", adapter_dtype="bf16"))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = _ids(2, length)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = tuner.hidden(anatomy, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).states
    assert states.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize(
    ("kind", "bits", "most"), [("adapter", "16", 1.15), ("adapter", "8", 1.2), ("average", "16", 1.2)]
)
def test_bytes_kept_per_tapped_layer(kind: str, bits: str, most: float) -> None:
    hidden, width, inner, tokens = 512, 64, 176, 2 * 64
    tap = tokens * (hidden * int(bits) // 8 + 64) if kind == "adapter" else 0
    bound = tap + (24 + 8 * inner / width) * tokens * width
    six, four = (_saved_bytes(_in_16_bit(n), 0, kind, bits) for n in (6, 4))
    assert 0.5 * bound < (six - four) / 2 <= most * bound
    # Of six layers the first, third and fifth are left out: what is kept is that of three tapped ones.
    left_out = _saved_bytes(_in_16_bit(6), 2, kind)
    assert left_out == pytest.approx(_saved_bytes(_in_16_bit(3), 0, kind), rel=0.001)


def test_a_backbone_in_4_bit_keeps_no_more(tmp_path: Path) -> None:
    """QST: neither what was taken out of the 4 bits for a moment, nor anything for an untapped layer."""
    folder = write_model(tmp_path / "model", num_hidden_layers=4, **_WIDE)
    for skip in (0, 2):
        quantised = load_model(
            folder, dtype=torch.bfloat16, device="cpu", quantisation=Quantisation("nf4", double=True)
        )
        assert _saved_bytes(quantised, skip) == _saved_bytes(_in_16_bit(4), skip)


def test_a_tap_in_8_bit_changes_nothing_but_the_gradient_a_little() -> None:
    torch.manual_seed(0)
    tap = torch.randn(3, 40, 192) * torch.logspace(-2, 2, 192)  # some entries are far larger than the rest
    exact, rounded = (
        Projection(side_shape(192, 4, LstParams(reduction=3, tap_bits=bits))) for bits in ("16", "8")
    )
    rounded.load_state_dict(exact.state_dict())
    towards = torch.randn(3, 40, 64)
    for projection in (exact, rounded):
        projection(tap).backward(towards)
    torch.testing.assert_close(rounded(tap), exact(tap), rtol=0, atol=0)
    wanted = exact.first.weight.grad
    error = (rounded.first.weight.grad - wanted).norm() / wanted.norm()
    assert 0 < error < 0.01
    assert torch.equal(rounded.second.weight.grad, exact.second.weight.grad)


@pytest.mark.parametrize("stretch", [2, 256])
@pytest.mark.parametrize("masked", [False, True])
def test_pointers_add_the_directions_of_tokens_by_gated_attention(
    masked: bool, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sum_n gate_n softmax(query_n key_n' / sqrt(d)) row / |row|^2, written out; and its gradients."""
    monkeypatch.setattr(pointer, "STRETCH", stretch)
    generator = torch.Generator().manual_seed(7)

    def drawn(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    query, key, gate, table = drawn(2, 3, 5, 4), drawn(2, 3, 8, 4), drawn(2, 3, 5), drawn(9, 7)
    tokens = torch.randint(0, 9, (2, 8), generator=generator)
    seen = torch.ones(5, 8, dtype=torch.bool).tril(3)
    mask = None
    if masked:
        mask = seen.expand(2, 1, 5, 8).clone()
        mask[1, :, :, :2] = False
    expected = torch.zeros(2, 5, 7, dtype=torch.float64)
    for b, n, i in itertools.product(range(2), range(3), range(5)):
        places = [j for j in range(8) if (seen if mask is None else mask[b, 0])[i, j]]
        weights = torch.stack([query[b, n, i] @ key[b, n, j] / 2 for j in places]).softmax(0)
        for weight, j in zip(weights, places, strict=True):
            row = table[tokens[b, j]]
            expected[b, i] += gate[b, n, i] * weight * row / row.square().sum()
    torch.testing.assert_close(_Pointed.apply(query, key, gate, tokens, table, mask), expected)
    moving = [x.requires_grad_() for x in (query, key, gate)]
    assert torch.autograd.gradcheck(lambda *x: _Pointed.apply(*x, tokens, table, mask), moving)


@torch.no_grad()
def test_a_pointer_raises_the_logit_of_the_token_it_looks_at() -> None:
    """One token repeated: every pattern looks at it alone, and a gate of 1 makes its logit one more."""
    model, _ = _fresh("llama")
    ids = torch.full((1, 6), 17)
    before = model(ids).logits
    network = ladder(model).network
    network.pointer.gate.weight.normal_(0, 0.001, generator=torch.Generator().manual_seed(1))
    states: list[Tensor] = []
    network.norm.register_forward_hook(lambda *call: states.append(call[-1]))
    raised = model(ids).logits[0, :, 17] - before[0, :, 17]
    gates = 4096 / network.shape.width * network.pointer.gate(states[0])[0]
    torch.testing.assert_close(raised, gates.sum(-1), rtol=1e-4, atol=1e-5)


def test_pointers_need_tokens() -> None:
    model, _ = _fresh("llama")
    embeddings = torch.randn(1, 4, 32)
    with pytest.raises(StudioError) as refusal:
        model(inputs_embeds=embeddings)
    assert refusal.value.code == "side_needs_tokens"
    model, _ = _fresh("llama", pointers=0)
    assert model(inputs_embeds=embeddings).logits.shape[1] == 4
