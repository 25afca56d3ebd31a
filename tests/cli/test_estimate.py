"""`estimate`: the document that others build on, and what a person reads."""

import json
import os
import subprocess
import sys

import pytest

import assets
from backend.facade import StudioFacade
from studio.models.config import read_config
from studio.plan import methods, parse_request
from tests.backend.launchers import HereAndNow
from tests.cli.conftest import Ran
from tests.models.surveyed import CONFIGS
from tests.test_imports import loaded_after
from ui.cli.main import main
from ui.fragments.format import bytes_text

GIVEN = ("estimate", "hub:Qwen/Qwen2.5-0.5B-Instruct", "--batch", "4", "--seq", "512", "--device", "cpu")


@pytest.fixture
def real(home, capsys, monkeypatch):
    """Commands on a real facade whose jobs are done in this thread, with `free` bytes of main memory."""

    def run(*arguments, free=64 * 2**30):
        facade = StudioFacade(home, launcher=HereAndNow())
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
    assert (found["purpose"], found["source"]) == ("train", "estimate")


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
    told = real(*GIVEN, "--method", "full", "--set", "optimizer_impl=fused", free=8 * 2**30).out
    assert "--set optimizer=adamw_8bit --set optimizer_impl=loop" in told


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


def test_several_devices_and_other_programs_are_judged_by_what_they_take(real):
    given = ("estimate", GIVEN[1], "--method", "full", "--batch", "1", "--seq", "64", "--device", "cpu")
    alone = real(*given, "--json").document
    free = alone["reserved_bytes"][1] * 2 // 3
    assert real(*given, "--json", free=free).document["verdict"] == "no"
    shared = real(*given, "--gpus", "8", "--sharding", "fsdp", "--json", free=free).document
    assert (shared["verdict"], shared["fits"]["cpu"]) == ("yes", True)
    assert shared["devices"][0]["verdict"] == "yes"
    for wrong in ("--methods", "--limits"):
        assert real(*given, "--gpus", "8", wrong).code == 2
        assert real(*given, "--set", "kbit_casts=true", wrong).code == 2


def test_that_nothing_helps_is_said_only_where_it_was_looked_for(real):
    nothing = "Nothing that the studio could change"
    given = ("estimate", "hub:meta-llama/Llama-3.3-70B-Instruct", "--device", "cpu")
    assert nothing in real(*given, free=2**30).out
    for other in (("--set", "kbit_casts=true"), ("--gpus", "2")):
        text = real(*given, *other, free=2**30).out
        assert "Too big" in text.splitlines()[0]
        assert nothing not in text


def test_answering(real):
    given = ("estimate", GIVEN[1], "--for", "chat", "--batch", "4", "--seq", "2048", "--device", "cuda:0")
    found = real(*given, "--json").document
    assert (found["purpose"], found["method"], found["disk_bytes"]) == ("chat", None, None)
    parts = found["components"]
    assert parts["weights"] == 2 * 494_032_768
    # Keys and values of 24 layers with 2 heads of 64, for four rows that are as long as they get.
    assert parts["cache"] == 2 * 24 * 4 * 2048 * 2 * 64 * 2
    assert found["peak_allocated_bytes"] == sum(v for k, v in parts.items() if k != "context")
    beside = real(*given, "--method", "lst", "--json").document
    # 24 rungs of width 64; keys of 4 pointers of 32, and what the tokens were; in 32 bit.
    side = (2 * 24 * 64 + 4 * 32 + 1) * 4 * 2048 * 4
    assert beside["components"]["cache"] == parts["cache"] + side
    assert beside["components"]["adapter"] == 4 * beside["trainable_params"]
    copied = real(*given, "--method", "qlora", "--json").document
    assert copied["components"]["weights"] > 1.3 * parts["weights"]
    assert "chat_own_copy" in {reason["key"] for reason in copied["reasons"]}
    assert "while a prompt is read" in real(*given).out


def test_merging(real):
    found = real("estimate", GIVEN[1], "--for", "merge", "--set", "rank=8", "--json").document
    assert found["disk_bytes"] == 2 * 494_032_768
    assert found["components"]["weights"] == 4 * 151_936 * 896  # the tied head, while it is compared
    assert found["moment"] == "verifying"
    assert found["fits"] == {"cpu": True}
    shipped = sum(file.stat().st_size for file in assets.path("starter").glob("*.safetensors"))
    assert real("estimate", "starter", "--for", "merge", "--json").document["disk_bytes"] == shipped
    assert "Written to disk: 942 MB" in real("estimate", GIVEN[1], "--for", "merge").out
    refused = real("estimate", GIVEN[1], "--for", "merge", "--method", "qst", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "method_not_mergeable")


def test_what_has_no_use_is_refused_by_name(real):
    for given, name in (
        (("--for", "merge", "--seq", "64"), "--seq"),
        (("--for", "merge", "--batch", "2"), "--batch"),
        (("--for", "chat", "--set", "rank=8"), "--set rank"),
        (("--for", "chat", "--lr", "1e-3"), "--lr"),
        (("--for", "merge", "--set", "weight_decay=0.1"), "--set weight_decay"),
        (("--sharding", "fsdp"), "--gpus N"),
    ):
        ran = real("estimate", "starter", *given)
        assert ran.code == 2
        assert name in ran.err
    for given in (
        ("--for", "merge", "--set", "method.rank=8"),
        ("--for", "chat", "--method", "lora", "--set", "rank=8"),
    ):
        assert real("estimate", "starter", *given).code == 0


def test_no_row_is_longer_than_the_model_reads(real):
    for more in ((), ("--for", "chat")):
        assert real("estimate", "starter", "--seq", "512", *more).code == 0
        (problem,) = real("estimate", "starter", "--seq", "4096", "--json", *more).document["error"]["facts"][
            "problems"
        ]
        assert (problem["code"], problem["key"]) == ("seq_beyond_context", "seq")
        assert problem["facts"] == {"seq": 4096, "context": 512}


def test_a_device_that_is_not_here_is_no_size_that_is_not_known(real):
    given = ("estimate", "starter", "--device", "cuda:7")
    said = "cuda:7 is not in this machine, so it cannot be said whether it fits"
    assert said in real(*given).out.splitlines()[0]
    assert said in real(*given, "--for", "chat").out.splitlines()[0]
    assert "unknown" not in real(*given, "--methods").out
    ran = real(*given, "--limits")
    assert (ran.code, said in ran.err) == (2, True)


def test_all_lines_add_up_to_what_has_to_be_free(real):
    found = real(*GIVEN, "--json").document
    lines = real(*GIVEN).out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.strip().startswith("All tensors"))
    beyond = [line.strip() for line in lines[place + 1 : place + 3]]
    context = found["components"]["context"]
    reserve = found["needed_bytes"] - found["peak_allocated_bytes"] - context
    assert beyond[0].split("  ")[0] == "The process itself"
    assert beyond[0].endswith(bytes_text(context))
    assert beyond[1].startswith("Held in reserve")
    assert beyond[1].endswith(bytes_text(reserve))


def test_a_reader_who_has_enough_ends_nothing_with_a_traceback(home):
    work = f"from ui.cli.main import main; raise SystemExit(main(['methods', '--home', {str(home)!r}]))"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        ran = subprocess.run([sys.executable, "-c", work], stdout=out, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_what_only_training_has_is_refused_elsewhere(real):
    for wrong in (("--limits",), ("--gpus", "2"), ("--set", "kbit_casts=true"), ("--data", "pirate")):
        assert real("estimate", "starter", "--for", "chat", *wrong).code == 2


def test_a_run_brings_its_base_and_method(real, home):
    plan = parse_request("starter", "pirate", "lora", set={"rank": 4, "precision": "fp32"})
    folder = StudioFacade(home)._home.runs / "pirate-1"
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan.as_dict()))
    facts = read_config(assets.path("starter"))
    terms = methods.get("lora").memory(facts, plan.method_params, plan.settings)
    for purpose in ("chat", "merge"):
        found = real("estimate", "run:pirate-1", "--for", purpose, "--json").document
        assert (found["method"], found["trainable_params"]) == ("lora", terms.trainable_params)
        # Merging takes most while the merged weights, which have none, are looked at beside the run's logits.
        adapter = {"chat": 4 * terms.trainable_params, "merge": None}[purpose]
        assert found["components"].get("adapter") == adapter
    assert real("estimate", "run:pirate-1", "--for", "chat", "--method", "lst").code == 2
    assert real("estimate", "run:pirate-1", "--for", "merge", "--set", "rank=8").code == 2
    refused = real("estimate", "run:pirate-1", "--json").document["error"]
    assert (refused["code"], refused["facts"]["base"]) == ("estimate_of_run", "starter")
    assert "--for chat" in refused["remedy"]
    assert (
        real("estimate", "run:none-1", "--for", "chat", "--json").document["error"]["code"] == "run_missing"
    )


SMALL = ("estimate", "starter", "--batch", "2", "--seq", "64", "--device", "cpu")


@pytest.mark.worker
def test_a_trace_says_the_same_and_where(real):
    found = real(*SMALL, "--trace", "--json").document
    assert (found["source"], found["estimate"]["source"]) == ("trace", "estimate")
    allocated = found["peak_allocated_bytes"]
    assert allocated == pytest.approx(found["estimate"]["peak_allocated_bytes"], rel=0.03)
    assert allocated == sum(found["components"].values())
    assert sum(row["bytes"] for row in found["modules"]) == allocated
    facts = read_config(assets.path("starter"))
    table = next(row for row in found["modules"] if row["module"] == "embed_tokens")
    assert table["parts"]["weights"] == 4 * facts.vocab * facts.hidden
    lines = real(*SMALL, "--trace").out.splitlines()
    assert any(line.split()[0].startswith("layers.") and ".mlp" in line for line in lines if line.strip())
    assert any(line.endswith(f"({found['at']}).") for line in lines)


@pytest.mark.worker
def test_a_trace_needs_no_torch_here_and_no_gpu(home):
    given = ["estimate", "starter", "--device", "cuda:0", "--seq", "64", "--trace", "--home", str(home)]
    loaded = loaded_after(f"from ui.cli.main import main; assert main({given}) == 0")
    assert not loaded & {"torch", "transformers", "peft", "gradio"}


@pytest.mark.worker
def test_what_a_trace_refuses_crosses_the_process(real, tmp_path):
    config = json.loads((assets.path("starter") / "config.json").read_text())
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config | {"num_attention_heads": 7}))  # transformers can't build that
    ran = real("estimate", str(file), "--trace", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "trace_failed")
    assert "7" in ran.document["error"]["facts"]["detail"]


def test_a_probe_measures_and_is_kept(real, home):
    found = real(*SMALL, "--probe", "--json").document
    assert (found["source"], found["fits"]["cpu"]) == ("probe", True)
    estimated = found["estimate"]["peak_allocated_bytes"]
    assert found["peak_allocated_bytes"] == pytest.approx(estimated, rel=0.05)
    assert "modules" not in found
    # The next look at the plan goes by it; its parts stay those of the estimate.
    again = real(*SMALL, "--json").document
    assert (again["source"], again["probe"]["reserved_bytes"]) == ("estimate", found["reserved_bytes"])
    assert again["needed_bytes"] == found["reserved_bytes"][1] != again["reserved_bytes"][1]
    assert again["peak_allocated_bytes"] == estimated
    assert again["calibration"]["runs"] == 1
    text = real(*SMALL).out
    assert f"took {again['calibration']['factor']:.2f} x of what was predicted (1 run)" in text
    assert "A probe of this very plan took" in text
    (point,) = StudioFacade(home).memory_history()
    measured = found["reserved_bytes"][1] - found["components"]["context"]
    assert (point.run, point.source, point.measured_bytes) == ("probe-1", "probe", measured)


def test_a_probe_needs_weights_and_a_device(real):
    for given, code in (
        ((*GIVEN, "--probe"), "probe_without_weights"),
        (("estimate", "starter", "--device", "cuda:7", "--probe"), "device_unknown"),
        (("estimate", str(assets.path("starter") / "config.json"), "--probe"), "probe_without_weights"),
    ):
        ran = real(*given, "--json")
        assert (ran.code, ran.document["error"]["code"]) == (1, code)
        assert ran.document["error"]["remedy"]


def test_a_trace_and_a_probe_are_of_the_studios_own_step(real):
    for wrong in (("--trace", "--probe"), ("--trace", "--gpus", "2"), ("--probe", "--for", "chat")):
        assert real(*SMALL, *wrong).code == 2


def test_a_family_that_is_not_known_is_counted_once(real, tmp_path, monkeypatch):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIGS["qwen3_moe"]))
    asked = ("estimate", str(config), "--method", "lora", "--batch", "1", "--seq", "64", "--json")
    first = real(*asked)
    assert first.code == 0
    assert "count them" in first.err
    monkeypatch.setattr(subprocess, "run", None)
    again = real(*asked)
    assert "count them" not in again.err
    assert again.document["components"] == first.document["components"]
    layer = 2 * 512 * (512 + 128) + 2 * 64 + 8 * 3 * 512 * 512 + 8 * 512 + 2 * 512
    adapters = 8 * 2 * (512 + 512 + 512 + 128)
    assert again.document["total_params"] == 2 * 16000 * 512 + 4 * (layer + adapters) + 512


def test_what_an_estimate_does_not_say_by_itself_stands_below_it(real, tmp_path):
    config = tmp_path / "config.json"
    sizes = {"vocab_size": 640, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    config.write_text(json.dumps({"model_type": "baichuan", "num_attention_heads": 4, **sizes}))
    for asked in ((), ("--for", "chat"), ("--for", "merge")):
        ran = real("estimate", str(config), *asked, "--json")
        assert [note["key"] for note in ran.document["notes"]] == ["layers_alike", "estimated_only"]
        said = ran.document["notes"][0]["reason"]
        assert "baichuan" in said
        assert "llama" in said
        assert said in real("estimate", str(config), *asked).out
    assert real("estimate", "starter", "--json").document["notes"] == []


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "model_quantised", "gptq, 4 bit"),
        ({"intermediate_size": "96"}, "model_config_size", 'intermediate_size as "96"'),
        ({"model_type": "bert"}, "model_not_causal", "bert"),
    ],
)
def test_what_is_no_model_to_estimate_is_refused_in_words(real, tmp_path, change, code, words):
    config = tmp_path / "config.json"
    sizes = {"vocab_size": 640, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config.write_text(json.dumps({"model_type": "llama", **sizes, **change}))
    assert real("estimate", str(config), "--json").document["error"]["code"] == code
    ran = real("estimate", str(config))
    assert ran.code == 1
    assert words in ran.err


def test_what_cannot_be_built_is_refused_as_before(real, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**CONFIGS["qwen3_moe"], "model_type": "novel"}))
    ran = real("estimate", str(config), "--json")
    assert ran.code == 1
    assert ran.document["error"]["code"] == "model_not_counted"


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize(
    "targets", ["c_attn", "q_proj,foo", "model.layers.99.self_attn.q_proj", "k_proj,auto"]
)
def test_targets_that_the_model_has_not_are_refused_by_name(real, method, targets):
    ran = real("estimate", "starter", "--method", method, "--set", f"targets={targets}", "--json")
    (problem,) = ran.document["error"]["facts"]["problems"]
    assert ran.code == 1
    assert problem["key"] == "method.targets"
    if "auto" in targets:
        assert (problem["code"], problem["facts"]) == ("targets_all_and_some", {"names": ["k_proj"]})
        return
    assert problem["code"] == "targets_unknown"
    assert problem["facts"]["unknown"] == [name for name in targets.split(",") if name != "q_proj"]
    assert {"q_proj", "down_proj"} <= set(problem["facts"]["known"])
    assert "q_proj" in ran.document["error"]["message"]


def test_targets_by_path_are_counted_as_such(real):
    one = real("estimate", "starter", "--set", "targets=model.layers.0.self_attn.q_proj", "--json").document
    every = real("estimate", "starter", "--set", "targets=self_attn.q_proj", "--json").document
    assert every["trainable_params"] == 6 * one["trainable_params"] > 0
    assert every["settings"]["targets"] == ["self_attn.q_proj"]
