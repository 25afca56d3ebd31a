"""A merge: several adapters into one, or a run into its base; and a look whether that computes the same."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.asked import GREETING, rows_of_each
from backend.descent import descent_of
from backend.inputs import TOKENIZER, base_hash
from backend.jobs.kinds import Made, Outcome, Work, go_on
from backend.jobs.kinds.train import model_folder
from backend.parts import Part, parts_of, rule_of
from backend.store.lineage import read
from studio.data.render import Renderer
from studio.data.rows import Stream
from studio.files import write_json
from studio.identity import file_sha256
from studio.manifests import manifest_of
from studio.merge import TOKENS

if TYPE_CHECKING:
    from studio.merge.into_base import Source
    from studio.merge.verify import Verified

ADAPTER, MERGED = "adapter", "merged"


class MergeKind:
    id = "merge"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`. The result: `path` and `files` of what was made, and what is known of it."""
        plan, folder = work.job.plan, work.home.run(work.job.id)
        parts = parts_of(work.home.runs, plan["parts"])
        _remember_inputs(work, parts)
        tokenizer = next((part.tokenizer for part in parts if part.tokenizer is not None), None)
        inputs = [(part.folder, part.weight) for part in parts]
        if plan["how"] is not None:
            facts = _combine(work, inputs, plan, folder / ADAPTER)
            return _adapter_made(work, tokenizer, facts)
        if plan["mixed"] is not None:  # its adapters become one first
            _combine(work, inputs, {**plan["mixed"], "compress": None}, folder / ADAPTER)
            inputs = [(folder / ADAPTER, 1.0)]
        return _into_base(work, *inputs[0], tokenizer)


KIND = MergeKind()


def _remember_inputs(work: Work, parts: list[Part]) -> None:
    for number, part in enumerate(parts):
        hash = file_sha256(sorted(part.folder.glob("*.safetensors"))[0])
        body = {"name": part.name, "weight": part.weight}
        role = f"adapter {number}"
        work.writer.statements(read(work.job.id, role, "adapter", hash, str(part.folder), body))


def _combine(
    work: Work, inputs: list[tuple[Path, float]], plan: Mapping[str, Any], out: Path
) -> dict[str, Any]:
    """One adapter out of several by the plan's rule, and what is known of it."""
    from studio.merge.combine import combine

    merge, params = rule_of(plan["how"], plan["params"])
    made = combine(
        inputs,
        merge,
        params,
        out,
        density=plan["compress"],
        progress=lambda share: go_on(work, "merging", share),
    )
    return {key: value for key, value in asdict(made).items() if key != "folder"}


def _adapter_made(work: Work, tokenizer: Path | None, facts: dict[str, Any]) -> Outcome:
    """The job's folder becomes one that answers like a run's; a copy goes where the person wants it."""
    folder, plan = work.home.run(work.job.id), work.job.plan
    made = folder / ADAPTER
    if tokenizer is not None:
        shutil.copytree(tokenizer, folder / TOKENIZER, dirs_exist_ok=True)
    manifest = manifest_of(made)
    _write_plan(folder, plan["model"], manifest, None)
    path = made if plan["out"] is None else _copied(made, Path(plan["out"]))
    result = {**facts, "path": str(path), "files": files_in(path), "adapter": str(folder / ADAPTER)}
    hash = file_sha256(next(path.glob("*.safetensors")))
    return Outcome("finish", result, (Made("adapter", str(path), hash, {"base": manifest["base"], **facts}),))


def _into_base(work: Work, adapter: Path, weight: float, tokenizer: Path | None) -> Outcome:
    from studio.merge.into_base import Source, merge_into_base
    from studio.merge.verify import verify

    plan, folder = work.job.plan, work.home.run(work.job.id)
    base = model_folder(work, plan["model"])
    work.sink.phase("loading", None)
    source = Source(adapter, base, base_hash(base, work.home), tokenizer, plan["precision"])
    out = Path(plan["out"]) if plan["out"] is not None else folder / MERGED
    rows = rows_of_each(descent_of(work.home, work.store, f"merge:{work.job.id}").learned)
    exact, prompts = bool(plan["exact"]), _prompts(rows, source)
    verified: list[Verified] = []

    def compare(written: Path) -> None:
        go_on(work, "verifying", None)
        verified.append(verify(source, written, prompts, exact=exact, weight=weight))

    merge_into_base(
        source,
        out,
        exact=exact,
        weight=weight,
        progress=lambda share: go_on(work, "merging", share),
        compare=compare,
    )
    (found,) = verified
    _write_plan(folder, plan["model"], manifest_of(adapter), out)
    facts = {
        "exact": exact,
        "weight": weight,
        "prompts": len(prompts),
        "rows_of": list(rows),
        "verified": {**asdict(found.written), "passed": found.written.passed},
        "ways": asdict(found.ways) if found.ways else None,
    }
    work.sink.event("verified", facts)
    made = Made("merge", str(out), base_hash(out, work.home), {"base": source.base_hash, **facts})
    return Outcome("finish", {**facts, "path": str(out), "files": files_in(out)}, (made,))


def _prompts(rows: Mapping[str, Sequence[Stream]], source: Source) -> list[list[int]]:
    """The rows as token ids; a greeting where there are none."""
    renderer = Renderer.from_folder(source.tokenizer or source.base)
    found = [renderer.encode(stream, TOKENS).ids for streams in rows.values() for stream in streams]
    return found or [renderer.encode_prompt([GREETING])]


def _write_plan(folder: Path, model: str, manifest: Mapping[str, Any], merged: Path | None) -> None:
    """What names the result later: base and method, as a run's plan does, and where merged weights are."""
    body = {"model": model, "method": manifest["method"], "method_params": manifest["method_params"]}
    write_json(folder / "plan.json", {**body, "merged": None if merged is None else str(merged)})


def _copied(adapter: Path, out: Path) -> Path:
    """A copy of a complete folder, which appears whole."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(adapter, partial)
    if out.exists():
        out.rmdir()  # it was empty when it was asked for
    partial.rename(out)
    return out


def files_in(folder: Path) -> list[str]:
    """The files of a folder and of those in it, as paths within it."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
