"""`estimate`: what memory a model takes to be tuned, to answer or to be merged, whether that fits, and what
would make it fit."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from backend.api import Facade, MemoryNeed
from ui.cli import documents, needs, train
from ui.cli.output import Output
from ui.cli.parser import Sub, UsageError

NAME = "estimate"
Request = tuple[str, str | None, str, dict[str, str], str]  # model, data, method, settings, objective
_PURPOSES = ("train", "chat", "merge")
# Options that only training has.
_TRAINING = ("data", "methods", "limits", "trace", "probe")
# What describes another program.
_SWITCHES = ("kbit_casts", "outputs_alive")
_DESCRIBED = (*_SWITCHES, "loss_kernel")


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Say what memory a model takes, before anything is loaded.")
    parser.add_argument("model", metavar="MODEL", help="starter, a folder, a config.json, a hub id, run:ID")
    parser.add_argument("--for", dest="purpose", choices=_PURPOSES, default="train", help="to do what")
    parser.add_argument("--data", metavar="DATASET", help="take the lengths of its rows: a sample or a file")
    train.add_settings(parser)
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="devices that train together")
    parser.add_argument("--sharding", choices=("ddp", "fsdp"), help="how they share (default: ddp)")
    parser.add_argument("--methods", action="store_true", help="compare all methods")
    parser.add_argument(
        "--limits", action="store_true", help="the largest batch, length and model that fit, per method"
    )
    exact = parser.add_mutually_exclusive_group()
    exact.add_argument("--trace", action="store_true", help="by the real step, without its numbers (seconds)")
    exact.add_argument("--probe", action="store_true", help="by one real step on the device")
    parser.set_defaults(run=run, method=None)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    settings = train.read_settings(options)
    other = _other(options, settings)
    if facade.counts_first(options.model):
        output.progress(output.words.text("cli.counting"))
    if options.purpose != "train":
        return _purpose(options, settings, other, facade, output)
    request = (options.model, options.data, options.method or "lora", settings, options.objective)
    if other and (options.trace or options.probe):
        raise UsageError("--trace and --probe take the studio's own step on one device")
    if other and (options.methods or options.limits):
        raise UsageError("--methods and --limits compare the studio's own methods on one device")
    draft = facade.estimate(*request, other)
    if options.limits and draft.memory is not None and draft.memory.fits is None:
        raise UsageError(f"--limits: {needs.verdict_text(draft.memory, draft, output.words)}")
    limits = facade.limits(*request) if options.limits else []
    compared = draft.method_needs if options.methods or options.limits else {}
    exact = _exact(options, request, facade, output)
    if options.probe:  # what would make it fit is sought by what was measured
        draft = facade.estimate(*request)
    shown = (draft, compared, limits, output.words, exact)
    output.result(needs.document(*shown), needs.text(*shown))
    return 0


def _exact(options: Namespace, request: Request, facade: Facade, output: Output) -> MemoryNeed | None:
    """The trace or the probe of the plan, if one is asked for."""
    if options.trace:
        output.progress(output.words.text("cli.tracing"))
        return facade.trace(*request)
    if options.probe:
        job = facade.probe(*request)
        documents.watch(job, facade, output)
        return facade.probed(job)
    return None


def _purpose(
    options: Namespace, settings: dict[str, str], other: dict[str, Any], facade: Facade, output: Output
) -> int:
    """Answering or merging: there `--batch` is how many answer at once, `--seq` how long each may get."""
    unused = [f"--{name}" for name in _TRAINING if getattr(options, name)]
    unused += ["--gpus"] * (options.gpus > 1) + [f"--set {key}" for key in _DESCRIBED if key in other]
    unused += ["--objective"] * (options.objective != "sft")
    used = _used(options, facade)
    unused += [f"--{key}" if key in train.SHORT else f"--set {key}" for key in settings if key not in used]
    if unused:
        raise UsageError(f"--for {options.purpose} has no use for {', '.join(unused)}")
    if options.model.startswith("run:") and options.method:
        raise UsageError("a run brings its own method: leave out --method")
    found = facade.purpose_need(options.purpose, options.model, options.method, settings)
    output.result(needs.purpose_document(found, output.words), needs.purpose_text(found, output.words))
    return 0


def _used(options: Namespace, facade: Facade) -> set[str]:
    """Settings that answering or merging depends on. A run brings those of its method."""
    used = {"batch", "seq", "device"} if options.purpose == "chat" else set()
    if options.model.startswith("run:") or (options.purpose == "chat" and options.method is None):
        return used
    own = {param["name"] for method in facade.methods() for param in method["params"]}
    return used | {"precision", "adapter_dtype"} | own | {f"method.{name}" for name in own}


def _other(options: Namespace, settings: dict[str, str]) -> dict[str, Any]:
    """What only an estimate can be asked, taken out of `settings`: other programs' ways, several devices."""
    other: dict[str, Any] = {}
    for name in _SWITCHES:
        if (text := settings.pop(name, "false").strip().lower()) not in ("true", "false"):
            raise UsageError(f"--set {name}: true or false, not {text}")
        if text == "true":
            other[name] = True
    if settings.get("loss_kernel") in ("fused", "fused_linear"):
        other["loss_kernel"] = settings.pop("loss_kernel")
    if options.gpus < 1:
        raise UsageError("--gpus: one at least")
    if options.gpus > 1:
        other |= {"devices": options.gpus, "sharding": options.sharding or "ddp"}
    elif options.sharding:
        raise UsageError("--sharding says how several devices share a model: give --gpus N with it")
    return other
