"""The rough memory need, against sums done by hand."""

from dataclasses import replace

import pytest

from studio.memory.rough import MIB, rough_need, typical_need, verdict
from studio.models.config import facts_of
from studio.plan import parse_request

MODEL = facts_of(
    {
        "model_type": "llama",
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
)


def need(**settings):
    values = {"batch": 2, "seq": 100, "precision": "mixed", "device": "cpu", "rank": 4} | settings
    return rough_need(parse_request("m", "d", set=values), MODEL)


def test_parts_of_a_lora_run():
    # Inputs and outputs of q, k, v, o, gate, up, down: 128, 96, 96, 128, 192, 192, 192.
    trained = 2 * 4 * (128 + 96 + 96 + 128 + 3 * 192)
    parts = need()
    assert parts.weights == 2 * MODEL.parameters
    assert parts.trained == 4 * trained
    assert parts.gradients == 4 * trained
    assert parts.optimizer == 8 * trained
    assert parts.activations == 2 * 68 * 200 * 64 + 8 * 200 * 1000
    inner = parts.weights + parts.trained + parts.gradients + parts.optimizer + parts.activations
    assert parts.total == pytest.approx(1.15 * inner + 700 * MIB, abs=1)


def test_formats_and_optimizers_change_their_parts():
    assert need(precision="fp32").weights == 4 * MODEL.parameters
    assert need(precision="bf16").trained * 2 == need().trained
    assert need(optimizer="lion").optimizer * 2 == need().optimizer
    assert need(optimizer="sgd", momentum=0).optimizer == 0


def test_checkpointing_and_rows_change_the_activations():
    assert need(gradient_checkpointing=True).activations < need().activations
    assert need(batch=4).activations > need().activations
    assert need(batch=4).weights == need().weights


def of_method(method, **settings):
    values = {"batch": 2, "seq": 100, "precision": "mixed", "device": "cpu"} | settings
    return rough_need(parse_request("m", "d", method, set=values), MODEL)


def test_base_in_4_bit():
    matrices = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    rest = 2 * (MODEL.parameters - matrices)
    assert of_method("qlora").weights == int(matrices * (4 + 8 / 64 + 32 / (64 * 256)) / 8) + rest
    assert of_method("qst", double_quant=False).weights == int(matrices * 4.5 / 8) + rest
    assert of_method("lst").weights == 2 * MODEL.parameters


def test_side_network_keeps_its_taps_and_its_rungs():
    logits = 8 * 200 * 1000
    rungs = 2 * (24 * 64 + 8 * 176) + 2 * (64 + 64)
    layer = 68 * 200 * 64 // 2
    assert of_method("lst", downsampler="max").activations == rungs * 200 + layer + logits
    taps = 2 * (64 + 4 * 16)  # in 8 bit, and twice what the downsampler makes of it
    assert of_method("lst").activations == (rungs + taps) * 200 + layer + logits
    whole = 2 * (2 * 64 + 4 * 16)
    assert of_method("lst", tap_bits="16").activations == (rungs + whole) * 200 + layer + logits


def test_full_tuning_counts_the_weights_once():
    parts = of_method("full", precision="fp32")
    assert (parts.weights, parts.trained) == (4 * MODEL.parameters, 0)
    assert parts.gradients == 4 * MODEL.parameters
    assert of_method("full").weights + of_method("full").trained == 4 * MODEL.parameters


def test_unknown_parameters_give_no_answer():
    assert rough_need(parse_request("m", "d"), replace(MODEL, parameters=None)) is None
    assert typical_need(replace(MODEL, parameters=None), "cpu") is None


def test_typical_need_is_that_of_four_rows():
    assert typical_need(MODEL, "cuda:0") == need(batch=4, seq=256, rank=8, device="cuda:0")


@pytest.mark.parametrize(
    ("needed", "free", "answer"),
    [
        (80, 100, "yes"),
        (81, 100, "tight"),
        (100, 100, "tight"),
        (101, 100, "no"),
        (None, 1, None),
        (1, None, None),
    ],
)
def test_verdict(needed, free, answer):
    assert verdict(needed, free) == answer
