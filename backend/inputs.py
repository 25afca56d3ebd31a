"""What a run is made of, by content: frozen rows, base, tokenizer and template."""

from __future__ import annotations

from pathlib import Path

from backend.home import Home
from studio.data.render import Renderer
from studio.data.rows import read_rows
from studio.errors import StudioError
from studio.identity import BaseIdentity, base_identity, dataset_hash, json_hash
from studio.models.hub import known_hashes
from studio.models.locate import locate

ROWS, HELDOUT, TOKENIZER = "rows.jsonl", "heldout.jsonl", "tokenizer"


def frozen_hashes(folder: Path) -> dict[str, str]:
    """Hashes of a run's frozen rows: `dataset` (training) and `heldout`. `StudioError("rows_missing")`."""
    out = {}
    for name, file in (("dataset", ROWS), ("heldout", HELDOUT)):
        if not (folder / file).exists():
            raise StudioError("rows_missing", path=str(folder / file))
        out[name] = dataset_hash(read_rows(folder / file))
    return out


def folder_if_on_disk(model: str, runs: Path) -> Path | None:
    """Folder of a base (`runs` holds the merges); None for one of the hub that has to be fetched. Raises what
    `locate` raises."""
    try:
        return locate(model, runs)
    except StudioError as error:
        if error.code == "model_not_on_disk":
            return None
        raise


def base_hash(folder: Path, home: Home) -> str:
    """Hash of a model's content; files are read once, then known by path, size and time."""
    return base_identity_of(folder, home).hash


def base_identity_of(folder: Path, home: Home) -> BaseIdentity:
    """As `base_hash`, with the hash of each weight file."""
    return base_identity(folder, home.cache / "hashes.json", known_hashes(folder))


def renderer_hashes(folder: Path, model: Path, home: Home) -> dict[str, str]:
    """Hashes of the run's own `tokenizer` (with its special tokens and stop ids) and `template`.

    The run folder gets its copy from the model where it has none yet.
    """
    return hashes_of(Renderer.of_run(folder / TOKENIZER, model, converted=home.cache / "tokenizers"))


def hashes_of(renderer: Renderer) -> dict[str, str]:
    """As `renderer_hashes`, of a renderer at hand."""
    return {"tokenizer": renderer.hash(), "template": template_hash(renderer)}


def template_hash(renderer: Renderer) -> str:
    """Hash of the text that makes a prompt out of messages."""
    return json_hash(renderer.template_text)
