"""An evaluation of a mix: what it does to the held-out loss of each run in it."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.inputs import HELDOUT, TOKENIZER
from backend.jobs.kinds import Outcome, Work, go_on
from backend.jobs.kinds.train import model_folder, worker_device
from backend.parts import Part, Recipe, recipe_of
from studio.data.render import Encoded, Renderer
from studio.data.rows import read_rows
from studio.errors import StudioError
from studio.manifests import held_in
from studio.names import mix_of, parse
from studio.registry import load_part


class EvaluateKind:
    id = "evaluate"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`. The result: `losses`, for every run with held-out rows `of`, the number of its
        `rows`, and the loss by who answers: `base`, each part by its name, `mix`."""
        plan = work.job.plan
        recipe = recipe_of(work.home.runs, mix_of(parse(plan["mix"])))
        base = model_folder(work, plan["model"])
        work.sink.phase("loading", None)
        sets = {part.name: rows for part in recipe.parts if (rows := _heldout(part))}
        found = _losses(work, recipe, base, sets)
        return Outcome("finish", {"mix": plan["mix"], "losses": found})


KIND = EvaluateKind()


def _losses(work: Work, recipe: Recipe, base: Path, sets: dict[str, list[Encoded]]) -> list[dict[str, Any]]:
    from studio.models.load import load_model, weights_dtype

    dtype = weights_dtype(work.job.plan["precision"], trained=recipe.whole is not None)
    quantisation = held_in([part.folder for part in recipe.parts])
    measure, found = _measure(recipe), []
    for number, (name, rows) in enumerate(sets.items()):
        model = load_model(base, dtype=dtype, device=worker_device(work), quantisation=quantisation).eval()

        def told(share: float, before: int = number) -> None:
            go_on(work, "evaluating", (before + share) / len(sets))

        losses = measure(model, rows, told)
        found.append({"of": name, "rows": len(rows), "losses": losses})
        del model
        gc.collect()
    return found


def _measure(recipe: Recipe) -> Callable[..., dict[str, float]]:
    """What is to be done with a freshly loaded base, rows and progress."""
    from studio.merge.combine import combine_in_memory
    from studio.merge.heldout import heldout_losses, interpolated_losses

    if recipe.whole is None:
        mix = combine_in_memory(recipe.inputs, recipe.how, recipe.params)
        adapters = {part.name: part.folder for part in recipe.parts}
        return lambda model, rows, told: heldout_losses(model, adapters, mix, rows, told)
    part, method, params = recipe.whole
    run = (part.name, part.folder, part.weight)
    return lambda model, rows, told: interpolated_losses(
        model, load_part(method.torch)(params), run, rows, told
    )


def _heldout(part: Part) -> list[Encoded]:
    """The run's held-out rows as it read them; none for an adapter that is of no run."""
    if part.run is None or not (part.run / HELDOUT).is_file():
        return []
    plan = json.loads((part.run / "plan.json").read_text(encoding="utf-8"))
    seq = plan.get("settings", {}).get("seq")
    streams = [next(iter(row.streams.values())) for row in read_rows(part.run / HELDOUT)]
    encoded = Renderer.from_folder(part.run / TOKENIZER).encode_many(streams, seq)
    return [row for row in encoded if not isinstance(row, StudioError) and any(row.learned[1:])]
