"""`estimate`: the document that others build on, and what a person reads."""

import pytest

from backend.facade import StudioFacade
from tests.cli.conftest import Ran
from tests.test_imports import loaded_after
from ui.cli.main import main

GIVEN = ("estimate", "hub:Qwen/Qwen2.5-0.5B-Instruct", "--batch", "4", "--seq", "512", "--device", "cpu")


@pytest.fixture
def real(home, capsys, monkeypatch):
    """Commands on a real facade, with `free` bytes of main memory."""

    def run(*arguments, free=64 * 2**30):
        facade = StudioFacade(home)
        report = facade.hardware()
        object.__setattr__(report, "ram_available_bytes", free)
        monkeypatch.setattr(facade, "hardware", lambda: report)
        code = main(arguments, open_facade=lambda _: facade)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def test_the_document(real):
    ran = real(*GIVEN, "--set", "rank=16", "--json")
    assert ran.code == 0
    found = ran.document
    parts = found["components"]
    assert found["peak_allocated_bytes"] == sum(v for k, v in parts.items() if k != "context")
    low, high = found["reserved_bytes"]
    assert found["peak_allocated_bytes"] <= low <= high
    # 24 layers, rank 16; inputs and outputs of q, k, v, o, gate, up, down.
    ends = (896 + 896) + 2 * (896 + 128) + (896 + 896) + 3 * (896 + 4864)
    assert found["trainable_params"] == 24 * 16 * ends
    assert found["total_params"] == 494_032_768 + found["trainable_params"]
    assert parts["weights"] == 2 * 494_032_768
    assert parts["optimizer"] == 2 * 4 * found["trainable_params"]
    assert found["fits"]["cpu"] is True
    assert found["tokens_per_step"] == 4 * 512
    assert found["settings"]["rank"] == 16
    assert {reason["key"] for reason in found["reasons"]} >= {"precision", "optimizer"}
    assert "methods" not in found
    assert {found[key] for key in ("epoch_seconds", "epoch_range_seconds", "epoch_joules", "epoch_from")} == {
        None
    }


def test_what_does_not_fit_says_so_and_what_would_help(real):
    found = real(*GIVEN, "--json", free=4 * 2**30).document
    assert found["fits"]["cpu"] is False
    assert found["verdict"] == "no"
    assert found["make_fit"]
    for way in found["make_fit"]:
        assert way["needed_bytes"] <= 0.9 * 4 * 2**30
        assert way["price"]
    text = real(*GIVEN, free=4 * 2**30).out
    assert "Too big" in text.splitlines()[0]
    assert "--set gradient_checkpointing=true" in text


def test_one_line_per_method_and_the_most_that_fits(real):
    lines = real(*GIVEN, "--methods").out.splitlines()
    assert {"full", "lora", "qlora", "lst", "qst"} <= {line.split()[0] for line in lines}
    found = {each["method"]: each for each in real(*GIVEN, "--limits", "--json").document["methods"]}
    assert found["lora"]["limits"]["batch"] > 4
    assert found["qst"]["limits"]["seq"] > found["lora"]["limits"]["seq"]
    assert found["lora"]["limits"]["model"]


def test_an_epoch_by_earlier_work(command):
    given = ("estimate", "starter", "--data", "pirate", "--steps", "60")
    found = command(*given, "--methods", "--json").document
    # Six epochs at 0.15 s a step, on a device of 100 W.
    assert (found["epoch_seconds"], found["epoch_joules"]) == (pytest.approx(1.5), pytest.approx(150))
    assert found["epoch_range_seconds"] == [pytest.approx(0.75), pytest.approx(1.5)]
    assert found["epoch_from"] == {"job": "pirate-1", "differs": ["batch"]}
    assert found["methods"][0]["epoch_seconds"] == found["epoch_seconds"]
    assert "An epoch takes about 2 s" in command(*given).out


def test_refusals_read_as_those_of_other_commands(real):
    ran = real("estimate", "/no/such/model", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "model_missing")
    ran = real(*GIVEN, "--set", "rank=none-at-all", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "plan_invalid")
    ran = real(*GIVEN, "--set", "rank", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "usage")


def test_the_command_needs_no_torch(home):
    given = ["estimate", "starter", "--data", "pirate", "--home", str(home)]
    loaded = loaded_after(f"from ui.cli.main import main; main({given})")
    assert not loaded & {"torch", "transformers", "peft", "gradio"}


def peak(real, *more: str) -> int:
    given = ("estimate", GIVEN[1], "--method", "qlora", "--batch", "1", "--seq", "512")
    found: int = real(*given, "--device", "cuda:0", *more, "--json").document["peak_allocated_bytes"]
    return found


def test_what_other_programs_and_several_gpus_take(real):
    alone = peak(real)  # on a GPU that need not be here
    assert peak(real, "--set", "kbit_casts=true") > alone
    assert peak(real, "--set", "loss_kernel=fused_linear") < alone
    assert peak(real, "--gpus", "2", "--sharding", "ddp") > alone
    assert real("estimate", "starter", "--set", "kbit_casts=perhaps").code == 2
    assert real("estimate", "starter", "--gpus", "0").code == 2
