"""An export: a model written in a format, compared with the studio's own answers, uploaded if asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.asked import GREETING, rows_of_each
from backend.descent import descent_of
from backend.exporting import learned_of
from backend.inputs import base_identity_of
from backend.jobs.kinds import Made, Outcome, Work, go_on
from backend.jobs.kinds.merge import files_in
from backend.jobs.kinds.train import model_folder
from backend.parts import Part
from backend.store.lineage import read
from studio.data.render import Renderer
from studio.data.rows import Stream
from studio.errors import StudioError
from studio.exports import exports
from studio.identity import file_sha256, json_hash
from studio.names import parse
from studio.params import parse as parse_params

if TYPE_CHECKING:
    from studio.export.subject import Subject

EXPORTED = "export"
_PROMPT_TOKENS = 128


class ExportKind:
    id = "export"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`. The result: `path` and `files` of what was made, and what is known of it."""
        plan, folder = work.job.plan, work.home.run(work.job.id)
        name = plan["part"] and parse(plan["part"])
        part = learned_of(work.home, name) if name else None
        base = model_folder(work, plan["model"])
        work.sink.phase("loading", None)
        from studio.export.card import Origin, write_card
        from studio.export.export import export
        from studio.export.subject import Subject

        identity = base_identity_of(base, work.home)
        subject = Subject(
            base,
            identity.hash,
            None if part is None else part.folder,
            None if part is None else part.tokenizer,
            plan["precision"],
            identity.files,
        )
        _remember_inputs(work, subject, part)
        format = exports.get(plan["format"])
        descent = descent_of(work.home, work.store, plan["asked"])
        rows = rows_of_each([descent.last] if descent.last else descent.learned)
        origin = Origin(plan["asked"], plan["model"], descent, tuple(rows))
        made = export(
            subject,
            format,
            parse_params(format.params, plan["params"])[0],
            folder / EXPORTED if plan["out"] is None else Path(plan["out"]),
            _prompts(rows, subject.renderer),
            companions=lambda to, parity: write_card(to, subject, format, origin, parity),
            said=lambda phase, share: go_on(work, phase, share),
        )
        facts: dict[str, Any] = {
            "format": format.id,
            "size_bytes": made.size_bytes,
            "parity": asdict(made.parity),
            "rows_of": list(rows),
        }
        work.sink.event("exported", facts)
        facts |= _uploaded(work, made.folder)
        files = files_in(made.folder)
        facts["file_bytes"] = {name: (made.folder / name).stat().st_size for name in files}
        hash = json_hash({name: file_sha256(made.folder / name) for name in files})
        left = Made("export", str(made.folder), hash, {"base": subject.base_hash, **facts})
        return Outcome("finish", {**facts, "path": str(made.folder), "files": files}, (left,))


KIND = ExportKind()


def _uploaded(work: Work, folder: Path) -> dict[str, Any]:
    """The page on the hub, or why it got nothing: the export itself is there either way."""
    plan = work.job.plan
    if plan["upload"] is None:
        return {}
    from studio.export.upload import upload

    go_on(work, "uploading", None)
    try:
        return {"uploaded": upload(folder, plan["upload"], public=plan["public"])}
    except StudioError as error:
        return {"uploaded": None, "upload_error": error.as_dict()}


def _remember_inputs(work: Work, subject: Subject, part: Part | None) -> None:
    found = {"base": ("base", subject.base_hash, subject.base, work.job.plan["model"])}
    if part is not None:
        hash = file_sha256(sorted(part.folder.glob("*.safetensors"))[0])
        found["adapter"] = ("adapter", hash, part.folder, part.name)
    for role, (kind, hash, path, name) in found.items():
        work.writer.statements(read(work.job.id, role, kind, hash, str(path), {"name": name}))


def _prompts(rows: Mapping[str, Sequence[Stream]], renderer: Renderer) -> list[list[int]]:
    """What the rows ask, as token ids; a greeting where there are none."""
    asked = [_asked(stream, renderer)[-_PROMPT_TOKENS:] for streams in rows.values() for stream in streams]
    return [ids for ids in asked if ids] or [renderer.encode_prompt([GREETING])]


def _asked(stream: Stream, renderer: Renderer) -> list[int]:
    """A conversation up to its last answer; of plain text the first half."""
    roles = [message.role for message in stream.messages]
    if "assistant" not in roles:
        ids = renderer.encode(stream).ids
        return ids[: (len(ids) + 1) // 2]
    last = len(roles) - 1 - roles[::-1].index("assistant")
    return renderer.encode_prompt(stream.messages[:last])
