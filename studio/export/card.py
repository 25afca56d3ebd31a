"""What goes along with exported weights: the model card, and the recipe as one runnable file.

Paths of this machine stay here: a base or dataset that is a folder or file is called by its last name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from pprint import pformat
from typing import Any

from jinja2 import Environment, StrictUndefined

import assets
from studio.export.commands import bare_name, command, public_name, recipe, rule_text
from studio.export.descent import Descent, Learned
from studio.export.parity import Parity
from studio.export.subject import Subject
from studio.exports import ExportFormat
from studio.names import parse
from studio.params import to_dict
from studio.plan import Plan

CARD, SCRIPT, COMMANDS = "README.md", "recipe.py", "recipe.sh"
_LORA = ("r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "use_rslora", "use_dora")
_USE = {
    "adapter": "Load the base, then `PeftModel.from_pretrained(base, THIS_FOLDER)` of peft.",
    "compact": "`python expand_adapter.py OUT` writes an ordinary adapter; load the base, then "
    "`PeftModel.from_pretrained(base, OUT)` of peft.",
    "side": '`python side_network.py BASE "a prompt"`, or `from side_network import load`.',
    "safetensors": "`AutoModelForCausalLM.from_pretrained(THIS_FOLDER)` of transformers.",
    "gguf": "llama.cpp and what is built on it read the file; for Ollama: `ollama create NAME -f Modelfile`.",
}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: its own name, the base's, what both were made of, and of which runs the rows
    are that it was compared on (none: it was asked a greeting)."""

    name: str
    base: str
    descent: Descent
    rows_of: tuple[str, ...] = ()


def write_card(folder: Path, subject: Subject, format: ExportFormat, origin: Origin, parity: Parity) -> None:
    """Write README.md; recipe.py where plain transformers and peft can follow the recipe, and recipe.sh where
    merges are part of it."""
    descent, learned = origin.descent, origin.descent.last
    plan = None if learned is None else learned.plan
    script = plan is not None and _write_script(folder, subject, plan)
    if descent.merges:
        (folder / COMMANDS).write_text(recipe(descent), encoding="utf-8")
    text = (assets.path("export", "card.md")).read_text(encoding="utf-8")
    base, side = parse(descent.root), (folder / "side.json").is_file()
    rendered = (
        Environment(undefined=StrictUndefined, keep_trailing_newline=True)
        .from_string(text)
        .render(
            _facts(learned, descent),
            title=f"{bare_name(origin.name)} ({format.title})",
            what=format.summary,
            own_base=_own_base(subject, origin),
            base=public_name(descent.root),
            base_id=base.value if base.kind == "hub" else None,
            base_hash=descent.root_hash or (subject.base_hash if origin.base == descent.root else "unknown"),
            licence=licence(descent.root_folder or subject.base),
            library="peft" if not format.merged and not side else "transformers",
            method=None if subject.method is None else subject.method[0].id,
            parity=parity,
            rows_of=[public_name(name) for name in origin.rows_of],
            use=_USE["side" if side else format.id],
            script=script,
        )
    )
    (folder / CARD).write_text(rendered, encoding="utf-8")


def _own_base(subject: Subject, origin: Origin) -> dict[str, str] | None:
    """What stands between this model and the root: merged weights that it was tuned over."""
    if subject.adapter is None or origin.base == origin.descent.root:
        return None
    return {"name": public_name(origin.base), "hash": subject.base_hash}


def licence(base: Path) -> str | None:
    """What the base's own card says; None where it has none."""
    card = base / CARD
    if not card.is_file():
        return None
    found = re.search(r"\A---\n.*?^license: *([\w.-]+) *$.*?^---$", card.read_text("utf-8"), re.DOTALL | re.M)
    return found[1] if found else None


def _facts(learned: Learned | None, descent: Descent) -> dict[str, Any]:
    """What is said of the run, and of all that went into merges."""
    inputs = [step for step in descent.learned if step is not learned]
    return {
        "run": learned and learned.plan and _learned(learned),
        "merges": [
            {
                "name": merge.name,
                "parts": [{"name": public_name(name), "weight": weight} for name, weight in merge.parts],
                "rule": rule_text(merge),
            }
            for merge in descent.merges
        ],
        "inputs": [
            {"name": public_name(step.name), "known": _learned(step) if step.plan else None}
            for step in inputs
        ],
    }


def _learned(learned: Learned) -> dict[str, Any]:
    plan, ended = learned.plan, learned.ended
    assert plan is not None
    return {
        "method": plan.method,
        "params": {key: value for key, value in to_dict(plan.method_params).items() if value is not None},
        "dataset": PurePath(plan.dataset).name,
        "rows": learned.rows,
        "rows_hash": learned.rows_hash,
        "steps": learned.manifest.get("step", ended.get("steps")),
        "loss": _number(ended.get("loss")),
        "eval_loss": _number(ended.get("eval_loss")),
        "peak_mb": _number((ended.get("peak_memory_bytes") or 0) / 1e6 or None),
        "command": command(plan),
    }


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _write_script(folder: Path, subject: Subject, plan: Plan) -> bool:
    """Whether there is a script: peft knows no side networks."""
    assert subject.adapter is not None
    config = subject.adapter / "adapter_config.json"
    assert subject.method is not None
    method, params = subject.method
    if not config.is_file() and not method.capable("trains_base", params):
        return False
    held, settings = subject.quantisation, plan.settings
    base = parse(plan.model)
    recipe: Mapping[str, Any] = {
        "model": base.value if base.kind == "hub" else None,  # others have names that only this studio knows
        "base": f"{public_name(plan.model)}, content {subject.base_hash}",
        "lora": {key: value for key, value in _json(config).items() if key in _LORA}
        if config.is_file()
        else None,
        "quantised": held
        and {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": held.kind,
            "bnb_4bit_use_double_quant": held.double,
        },
        "steps": settings.steps or _json(subject.adapter / "manifest.json").get("step"),
        **{
            key: getattr(settings, key)
            for key in ("batch", "accumulation", "seq", "lr", "seed", "precision", "schedule", "warmup")
        },
        "weight_decay": settings.weight_decay,
        "grad_clip": settings.grad_clip,
    }
    text = assets.path("export", SCRIPT).read_text(encoding="utf-8")
    text = text.replace("RECIPE = {}", f"RECIPE = {pformat(dict(recipe), width=100, sort_dicts=False)}", 1)
    (folder / SCRIPT).write_text(text.replace("    COMMAND", f"    {command(plan)}", 1), encoding="utf-8")
    return True


def _json(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return body
