"""A finished export to the hub, with the login that the hub's own client keeps."""

from __future__ import annotations

import json
from pathlib import Path

from studio.errors import StudioError
from studio.models.hub import refusals
from studio.train.checkpoint import MANIFEST

_MESSAGE = "Export of Finetune Studio"


def upload(folder: Path, repo: str, *, public: bool) -> str:
    """Put the files of a complete export into a repository, which is made if it is not there; gives the
    address of its page. All files arrive in one commit, so that nobody sees half of them.

    Raises StudioError `hub_login_missing` (repo) and those of `studio.models.hub.hub_files`.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise StudioError("hub_login_missing", repo=repo)
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    api = HfApi()
    with refusals(repo, None):
        made = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=sorted(files), commit_message=_MESSAGE
        )
    return str(made)
