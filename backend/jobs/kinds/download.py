"""A model of the hub, fetched into the hub's own cache. Files that have arrived are not fetched again."""

from __future__ import annotations

from backend.inputs import base_hash
from backend.jobs.kinds import Made, Outcome, Work
from backend.jobs.kinds.train import model_folder
from studio.models import hub_cache
from studio.names import parse


class DownloadKind:
    id = "download"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`. The result: the folder's `path` and the `files` in it."""
        name = work.job.plan["model"]
        hub_cache.clear_abandoned(parse(name).value)
        folder = model_folder(work, name)
        files = sorted(file.name for file in folder.iterdir())
        made = Made("base", str(folder), base_hash(folder, work.home), {"model": name})
        return Outcome("finish", {"path": str(folder), "files": files}, (made,))


KIND = DownloadKind()
