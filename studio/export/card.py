"""What goes along with exported weights: the model card, and the recipe as one runnable file.

Paths of this machine stay here: a base or dataset that is a folder or file is called by its last name.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from pprint import pformat
from typing import Any

from jinja2 import Environment, StrictUndefined

import assets
from studio.export.parity import Parity
from studio.export.subject import Subject
from studio.exports import ExportFormat
from studio.names import parse
from studio.params import to_dict
from studio.plan import Plan, addresses

CARD, SCRIPT = "README.md", "recipe.py"
_LORA = ("r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "use_rslora", "use_dora")
_OPTIONS = frozenset({"steps", "epochs", "batch", "seq", "lr", "seed"})  # of the command line's own
_USE = {
    "adapter": "Load the base, then `PeftModel.from_pretrained(base, THIS_FOLDER)` of peft.",
    "side": '`python side_network.py BASE "a prompt"`, or `from side_network import load`.',
    "safetensors": "`AutoModelForCausalLM.from_pretrained(THIS_FOLDER)` of transformers.",
    "gguf": "llama.cpp and what is built on it read the file; for Ollama: `ollama create NAME -f Modelfile`.",
}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: its own name, the base's, and the run's folder (None: it is of no run)."""

    name: str
    base: str
    run: Path | None = None

    @property
    def plan(self) -> Plan | None:
        """The run's; None for a merge, which has none of its own."""
        body = {} if self.run is None else _json(self.run / "plan.json")
        return Plan.from_dict(body) if "settings" in body else None


def write_card(folder: Path, subject: Subject, format: ExportFormat, origin: Origin, parity: Parity) -> None:
    """Write README.md, and recipe.py where plain transformers and peft can follow the recipe."""
    plan = origin.plan
    script = plan is not None and _write_script(folder, subject, plan)
    text = (assets.path("export", "card.md")).read_text(encoding="utf-8")
    facts = _learned(subject, origin, plan) if plan is not None else {"plan": None}
    base = parse(origin.base)
    side = (folder / "side.json").is_file()
    rendered = (
        Environment(undefined=StrictUndefined, keep_trailing_newline=True)
        .from_string(text)
        .render(
            facts,
            title=f"{origin.name.partition(':')[2] or origin.name} ({format.title})",
            what=format.summary,
            base=public_name(origin.base),
            base_id=base.value if base.kind == "hub" else None,
            base_hash=subject.base_hash,
            licence=licence(subject.base),
            library="peft" if format.id == "adapter" and not side else "transformers",
            method=None if subject.method is None else subject.method[0].id,
            parity=parity,
            use=_USE["side" if side else format.id],
            script=script,
        )
    )
    (folder / CARD).write_text(rendered, encoding="utf-8")


def licence(base: Path) -> str | None:
    """What the base's own card says; None where it has none."""
    card = base / CARD
    if not card.is_file():
        return None
    found = re.search(r"\A---\n.*?^license: *([\w.-]+) *$.*?^---$", card.read_text("utf-8"), re.DOTALL | re.M)
    return found[1] if found else None


def public_name(model: str) -> str:
    """A model's name without the folders above it."""
    name = parse(model)
    return PurePath(name.value).name if name.kind == "path" else str(name)


def command(plan: Plan) -> str:
    """The studio's command for this plan, with all that is not as it stands by itself."""
    spaces = {"plan": plan.settings, "method": plan.method_params, "objective": plan.objective_params}
    spaces["optimizer"] = plan.optimizer_params
    words = ["python", "launch.py", "train", public_name(plan.model), PurePath(plan.dataset).name]
    words += ["--method", plan.method, "--objective", plan.objective]
    for address, info in addresses(plan.method, plan.objective, plan.settings.optimizer or "adamw").items():
        space, _, name = address.rpartition(".")
        held = [spaces[space]] if space else list(spaces.values())
        value = next(getattr(params, name) for params in held if hasattr(params, name))
        if value is None or value == info.default or address == "device":
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        text = text.lower() if isinstance(value, bool) else text
        words += [f"--{address}", text] if address in _OPTIONS else ["--set", f"{address}={text}"]
    return shlex.join(words)


def _learned(subject: Subject, origin: Origin, plan: Plan) -> dict[str, Any]:
    assert origin.run is not None
    assert subject.adapter is not None
    result = origin.run / "result.json"
    ended = _json(result) if result.is_file() else {}
    manifest = next(
        _json(file)
        for folder in (subject.adapter, subject.adapter.parent)
        if (file := folder / "manifest.json").is_file()
    )
    lines = (origin.run / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "plan": plan,
        "params": {key: value for key, value in to_dict(plan.method_params).items() if value is not None},
        "dataset": PurePath(plan.dataset).name,
        "rows": len(lines),
        "rows_hash": manifest["rows"],
        "steps": manifest.get("step", ended.get("steps")),
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
    recipe: Mapping[str, Any] = {
        "model": public_name(plan.model).removeprefix("hub:"),
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
