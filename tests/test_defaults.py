"""What the studio chooses by itself: numbers from closed forms, a reason for each, nothing left open."""

import json
from dataclasses import fields, replace

import pytest

from studio.defaults import RunFacts, cpu_has_bf16, resolve, worst_need
from studio.errors import Reason
from studio.memory.verdict import UNMEASURED, need_of
from studio.models.config import facts_of
from studio.plan import Plan, Settings, optimizers, parse_request

GIB = 2**30
TINY = facts_of(
    {
        "model_type": "llama",
        "vocab_size": 2048,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
)
QWEN = facts_of(
    {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    }
)
FACTS = RunFacts(
    rows=400,
    heldout_rows=100,
    longest=121,
    p95=88,
    model=TINY,
    device="cpu",
    device_reason=Reason("device_no_gpu", {"cores": 2}),
    cores=2,
    free_bytes=8 * GIB,
    fast_bf16=True,
    learned=1.0,
)


def chosen(facts=FACTS, **settings):
    plan, reasons = resolve(parse_request("starter", "pirate", set=settings), facts)
    return plan.settings, reasons


def test_nothing_is_left_open_and_every_choice_has_a_reason():
    settings, reasons = chosen()
    assert [f.name for f in fields(Settings) if getattr(settings, f.name) is None] == []
    open_before = {f.name for f in fields(Settings) if f.default is None}
    assert set(reasons) == open_before
    assert reasons["device"] == FACTS.device_reason


@pytest.mark.parametrize("rows", [1, 3, 71, 400, 10**7])
@pytest.mark.parametrize("settings", [{}, {"steps": 1}, {"steps": 10**7}, {"epochs": 0.5}, {"batch": 4096}])
def test_chosen_plan_can_be_saved_and_read_again(rows, settings):
    facts = replace(FACTS, rows=rows, longest=5, p95=5)
    plan, _ = resolve(parse_request("starter", "pirate", set=settings), facts)
    assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan


def test_what_the_person_set_stays_and_has_no_reason():
    settings, reasons = chosen(batch=2, lr=1e-5, seq=64, steps=7, precision="bf16", eval_every=3)
    assert (settings.batch, settings.lr, settings.seq, settings.steps) == (2, 1e-5, 64, 7)
    assert not {"batch", "lr", "seq", "steps", "precision", "eval_every"} & set(reasons)
    assert settings.adapter_dtype == "bf16"


def test_steps_and_epochs_follow_from_each_other():
    settings, reasons = chosen(epochs=3)
    assert settings.steps == 3 * 400 / 8
    assert reasons["steps"].code == "steps_from_epochs"
    settings, reasons = chosen(steps=125)
    assert settings.epochs == 2.5
    assert reasons["epochs"].code == "epochs_from_steps"
    assert chosen(epochs=1, batch=3, accumulation=2)[0].steps == 67
    assert chosen(epochs=0.001)[0].steps == 1


@pytest.mark.parametrize(("rows", "code"), [(5, "few"), (400, "few"), (5_000, "once"), (10**6, "once")])
def test_small_data_gets_more_rounds_and_large_data_one(rows, code):
    settings, reasons = chosen(replace(FACTS, rows=rows, heldout_rows=0))
    assert reasons["epochs"].code == ("epochs_once" if code == "once" else "epochs_few_rows")
    assert settings.epochs >= 1
    assert settings.steps >= 30
    assert (settings.epochs == 1) == (code == "once")


def test_narrow_model_sees_its_rows_more_often():
    assert chosen()[0].epochs == 10
    assert chosen(replace(FACTS, model=QWEN))[0].epochs == 4


def test_a_batch_of_which_not_even_one_row_fits_says_so():
    settings, reasons = chosen(replace(FACTS, model=QWEN, free_bytes=GIB // 4))
    assert settings.batch == 1
    assert reasons["batch"].code == "batch_none_fits"


def test_the_largest_step_has_no_more_rows_than_there_are():
    plan, _ = resolve(parse_request("starter", "pirate", set={"batch": 4096, "seq": 64}), FACTS)
    assert worst_need(plan, FACTS) == worst_need(plan.with_settings(batch=400), FACTS)
    assert worst_need(plan, replace(FACTS, rows=10_000)).allocated > worst_need(plan, FACTS).allocated


def test_few_rows_get_a_small_batch():
    settings, reasons = chosen(replace(FACTS, rows=5, heldout_rows=0))
    assert settings.batch == 1
    assert reasons["batch"].code == "batch_few_rows"
    assert chosen(replace(FACTS, rows=1, heldout_rows=0))[0].batch == 1


def test_batch_is_halved_until_it_fits():
    facts = replace(FACTS, model=QWEN, longest=1024, p95=900, free_bytes=6 * GIB)
    settings, reasons = chosen(facts)
    assert reasons["batch"].code == "batch_memory"
    plan = replace(parse_request("m", "d"), settings=settings)
    need = {b: UNMEASURED.needed(need_of(plan.with_settings(batch=b), QWEN, 1.0)) for b in (1, 2, 4, 8)}
    assert settings.batch == max(b for b, total in need.items() if total <= 0.9 * 6 * GIB)
    assert need[8] > 0.9 * 6 * GIB
    assert chosen(replace(facts, free_bytes=GIB))[0].batch == 1
    assert chosen(replace(facts, free_bytes=None))[0].batch == 8


@pytest.mark.parametrize(
    ("longest", "p95", "context", "seq", "code"),
    [
        (121, 88, 512, 128, "seq_longest_row"),
        (128, 88, 512, 128, "seq_longest_row"),
        (510, 88, 511, 511, "seq_longest_row"),
        (700, 88, 512, 512, "seq_context"),
        (9000, 3000, 32768, 3008, "seq_most_rows"),
        (9000, 100, 32768, 2048, "seq_most_rows"),
        (None, None, 512, 512, "seq_unknown"),
        (None, None, 32768, 1024, "seq_unknown"),
    ],
)
def test_sequence_length(longest, p95, context, seq, code):
    model = replace(TINY, context=context)
    settings, reasons = chosen(replace(FACTS, longest=longest, p95=p95, model=model))
    assert (settings.seq, reasons["seq"].code) == (seq, code)


@pytest.mark.parametrize(
    ("model", "device", "fast", "precision"),
    [
        (TINY, "cpu", True, "fp32"),
        (QWEN, "cpu", True, "mixed"),
        (QWEN, "cpu", False, "fp32"),
        (TINY, "cuda:0", True, "mixed"),
        (QWEN, "cuda:0", False, "fp32"),
        (None, "cuda:0", True, "mixed"),
    ],
)
def test_precision(model, device, fast, precision):
    settings, _ = chosen(replace(FACTS, model=model, device=device, fast_bf16=fast))
    assert settings.precision == precision
    assert settings.adapter_dtype == "fp32"


def test_learning_rate_falls_with_width():
    assert chosen(replace(FACTS, model=replace(QWEN, hidden=2000)))[0].lr == 5e-4
    assert chosen(replace(FACTS, model=QWEN))[0].lr == pytest.approx(5e-4 * (2000 / 896) ** 0.78, rel=0.05)
    rates = [
        chosen(replace(FACTS, model=replace(QWEN, hidden=h)))[0].lr for h in (64, 192, 1024, 4096, 10**6)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] <= 2e-3
    assert rates[-1] >= 1e-4
    assert chosen(replace(FACTS, model=None))[0].lr == 2e-4


@pytest.mark.parametrize(
    ("method", "device", "optimizer"),
    [
        ("lora", "cpu", "adamw"),
        ("lora", "cuda:0", "adamw"),
        ("qlora", "cpu", "adamw"),
        ("qlora", "cuda:0", "paged_adamw_8bit"),
    ],
)
def test_base_in_4_bit_on_a_gpu_gets_a_paged_optimizer(method, device, optimizer):
    request = parse_request("starter", "pirate", method, set={"optimizer": "auto", "beta1": 0.8})
    plan, reasons = resolve(request, replace(FACTS, device=device))
    assert plan.settings.optimizer == optimizer
    assert reasons["optimizer"].code == ("optimizer_usual" if optimizer == "adamw" else "optimizer_paged")
    assert plan.optimizer_params.beta1 == 0.8
    assert Plan.from_dict(plan.as_dict()) == plan


def test_optimizer_decides_the_scale_of_the_rate_and_its_form():
    adamw, lion = chosen()[0], chosen(optimizer="lion")[0]
    assert lion.lr == pytest.approx(adamw.lr / 10)
    assert adamw.optimizer_impl == "fused"
    assert lion.optimizer_impl == "loop"
    adafactor, reasons = chosen(optimizer="adafactor")
    assert adafactor.optimizer_impl == optimizers.get("adafactor").implementations[0]
    assert reasons["optimizer_impl"].code == f"optimizer_impl_{adafactor.optimizer_impl}"


def test_side_network_of_a_narrow_model_is_reduced_less():
    plan, reasons = resolve(parse_request("m", "d", "qst"), FACTS)
    assert plan.method_params.reduction == 3
    assert reasons["reduction"] == Reason("reduction_narrow", {"reduction": 3, "hidden": 192, "width": 64})
    plan, reasons = resolve(parse_request("m", "d", "qst", set={"reduction": 2}), FACTS)
    assert plan.method_params.reduction == 2
    assert "reduction" not in reasons


@pytest.mark.parametrize(("method", "kept"), [("lora", True), ("full", True), ("lst", False), ("qst", False)])
def test_checkpointing_is_switched_off_where_nothing_is_kept(method, kept):
    request = parse_request("m", "d", method, set={"gradient_checkpointing": True})
    plan, reasons = resolve(request, FACTS)
    assert plan.settings.gradient_checkpointing is kept
    assert reasons.get("gradient_checkpointing") == (
        None if kept else Reason("checkpointing_nothing_kept", {"method": method})
    )
    open_left, reasons = resolve(parse_request("m", "d", method), FACTS)
    assert not open_left.settings.gradient_checkpointing
    assert "gradient_checkpointing" not in reasons


def test_evaluation_takes_at_most_a_tenth_but_comes_twice():
    settings, _ = chosen(steps=1000)
    looks = 1000 / settings.eval_every
    assert 2 <= looks <= 10
    assert looks * FACTS.heldout_rows / 3 <= 0.1 * 1000 * 8 + FACTS.heldout_rows
    assert chosen(replace(FACTS, heldout_rows=10_000), steps=100)[0].eval_every == 50
    assert chosen(replace(FACTS, heldout_rows=8), steps=1000)[0].eval_every == 100
    assert chosen(replace(FACTS, heldout_rows=0), steps=100)[0].eval_every == 100


def test_processor_flags(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("flags\t\t: fpu avx512f avx512_bf16 sse\n")
    assert cpu_has_bf16(file)
    file.write_text("flags\t\t: fpu avx2 sse\n")
    assert not cpu_has_bf16(file)
    assert not cpu_has_bf16(tmp_path / "none")
