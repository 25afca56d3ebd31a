"""The rows of memory_rows.csv as plans, sizes and switches. No torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.memory.switches import Switches
from studio.models.config import ModelFacts, facts_of
from studio.models.families import FAMILIES
from studio.models.forms import FORMS, PATHS, Form
from studio.models.quantisation import Quantisation
from studio.plan import Plan, parse_request

HERE = Path(__file__).parent
Row = dict[str, str]
_ATTENTION = {"flash2": "flash", "sdpa": "sdpa", "math": "math"}
_LOSS = {"torch": "full", "chunked": "full", "fused": "fused", "fused_linear": "fused_linear"}
_FORMS = {
    "gpt_bigcode": Form(norm="layer", mlp="plain", fused_qkv="slices", rope=False, dropped=True),
    "phi": Form(norm="layer", mlp="plain", parallel=True, one_norm=True, fused_qkv="split", partial=True),
    "litgpt": Form(fused_qkv="split", partial=True),
    "litgpt_neox": Form(norm="layer", mlp="plain", parallel=True, fused_qkv="split", partial=True),
}


@contextmanager
def their_models() -> Iterator[None]:
    """While it lasts, models of these programs are known that the studio does not tune, or that they wrote
    themselves."""
    tables: tuple[dict[str, Any], ...] = (FORMS, PATHS, FAMILIES)
    own = [dict(table) for table in tables]
    FORMS.update(_FORMS)
    PATHS["gpt_bigcode"] = PATHS["gpt2"]
    FAMILIES["gpt_bigcode"] = FAMILIES["gpt2"]
    try:
        yield
    finally:
        for table, before in zip(tables, own, strict=True):
            table.clear()
            table.update(before)


def rows() -> list[Row]:
    """All rows of the file."""
    with (HERE / "memory_rows.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published(row: Row) -> dict[str, Any]:
    """What is published of the row's model: `config`, `parameters`."""
    found: dict[str, Any] = json.loads((HERE / "memory_models.json").read_text(encoding="utf-8"))
    model: dict[str, Any] = found[row["model"]]
    return model


def quantisation_of(row: Row) -> Quantisation | None:
    """How the row's matrices are held."""
    return Quantisation(row["quant"], row["double_quant"] == "yes") if row["quant"] else None


def facts(row: Row) -> ModelFacts:
    """Sizes of the row's model, as its program builds it."""
    body = published(row)
    config = dict(body["config"])
    if config["model_type"] == "gpt_bigcode":
        names = {"n_embd": "hidden_size", "n_inner": "intermediate_size", "n_layer": "num_hidden_layers"}
        names |= {"n_head": "num_attention_heads", "n_positions": "max_position_embeddings"}
        config = {names.get(key, key): value for key, value in config.items()} | {"num_key_value_heads": 1}
    found = replace(facts_of(config), parameters=body["parameters"])
    litgpt = {"llama": "litgpt", "gpt_neox": "litgpt_neox"} if "litgpt" in row["source"] else {}
    return replace(found, model_type=litgpt.get(found.model_type, found.model_type))


def plan(row: Row) -> Plan:
    """The row's run as a plan."""
    settings: dict[str, Any] = {
        "batch": row["batch"],
        "seq": row["seq"],
        "lr": 1e-4,
        "steps": 10,
        "precision": "bf16",
        "device": "cuda:0",
        "gradient_checkpointing": row["checkpointing"] == "yes",
        "optimizer": row["optimizer"],
    }
    if row["optimizer_impl"] in ("foreach", "fused", "loop"):
        settings["optimizer_impl"] = row["optimizer_impl"]
    if row["method"] in ("lora", "qlora"):
        settings |= {"rank": row["rank"], "dropout": row["dropout"], "adapter_dtype": row["adapter_dtype"]}
        settings["targets"] = row["targets"].replace(" ", ",")
    if "litgpt" in row["source"]:  # one matrix, in which two thirds have an adapter
        settings |= {"targets": "qkv", "rank": 2 * int(row["rank"])}
    if row["method"] == "qlora":
        settings |= {"quant": row["quant"], "double_quant": row["double_quant"] == "yes"}
    made = parse_request("path:" + row["model"], "rows", row["method"], set=settings)
    return made.with_settings(attention=_ATTENTION[row["attention"]], loss_kernel=_LOSS[row["loss"]])


def switches(row: Row) -> Switches:
    """What the row's program does otherwise."""
    bigcode, litgpt = "bigcode" in row["model"], "litgpt" in row["source"]
    forward = "4.45" in row["stack"] and not bigcode
    return Switches(
        autocast=row["autocast"] == "bf16",
        kbit_casts={"yes": "all", "norms": "norms"}.get(row["kbit_cast"], "no"),  # type: ignore[arg-type]
        outputs_alive=row["outputs_kept"] == "yes",
        outputs_fp32=row["outputs_fp32"] == "yes",
        upcast="no" if bigcode else "forward" if forward or litgpt else "loss",
        shift_copy=row["shift_copy"] != "no",
        alive_chunks=128 if litgpt else None,
        kernels=_kernels(row),
        state_at_peak=not litgpt,
        experts_quantised="mixtral" in row["model"] and row["method"] == "qlora",
        reentrant=not litgpt and ("fms" in row["source"] or row["method"] == "qlora"),
    )


def _kernels(row: Row) -> frozenset[str]:
    names = {"rms": "rms", "rope": "rope", "lora_qkv": "lora"}
    found = {names[name] for name in row["kernels"].split("+") if name in names}
    if "litgpt" in row["source"]:
        found.add("padded")
        if row["method"] == "qlora":  # bitsandbytes 0.41.1
            found.add("inputs")
    if "4.45" in row["stack"] and "mistral" in row["model"]:
        found.add("repeated")
    if "4.48.1" in row["stack"] and "bigcode" in row["model"]:
        found.add("cached")
    return frozenset(found)
