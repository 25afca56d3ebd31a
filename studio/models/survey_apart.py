"""The sizes of a model whose family is not known: it is built once, without weights, in a process of its own,
and what was found is kept under its config's hash.

The process is `python -m studio.models.survey`: a config.json in, one line of JSON out. No torch here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from studio.errors import StudioError
from studio.files import write_json
from studio.identity import json_hash, normalised_config
from studio.models.surveyed import Survey

_MOST_SECONDS = 600
_KIND = 3  # goes up whenever a survey finds out something else


class Surveyor(Protocol):
    """Who builds a model of a family that is not known, to count its weights."""

    def of(self, config: Mapping[str, Any]) -> Survey:
        """The survey of a config.json (of the text tower's part, where there are several).

        Raises StudioError `architecture_unknown` where transformers has no such model; `model_not_built`
        where it can't make one of this config; `model_layers_unknown` where that is built in another way than
        decoder layers one after the other.
        """
        ...

    def towers(self, config: Mapping[str, Any]) -> tuple[int, int] | None:
        """How many numbers the parts of a model beside its text tower hold, as
        `studio.models.pictures.beside`; None where transformers can't build the whole of it."""
        ...


@dataclass(frozen=True)
class Surveys:
    """Surveys made so far, kept in `folder`; it need not exist."""

    folder: Path

    def known(self, config: Mapping[str, Any], towers: bool = False) -> bool:
        """Whether the next `of` (or `towers`) answers without a process."""
        return self.file(config, towers).is_file()

    def of(self, config: Mapping[str, Any]) -> Survey:
        """See `Surveyor`. Raises also StudioError `survey_failed`."""
        return Survey.from_dict(self._answer(config))

    def towers(self, config: Mapping[str, Any]) -> tuple[int, int] | None:
        """See `Surveyor`."""
        try:
            matrices, rest = self._answer(config, towers=True)["towers"]
        except StudioError:  # its text tower is known all the same
            return None
        return matrices, rest

    def _answer(self, config: Mapping[str, Any], towers: bool = False) -> dict[str, Any]:
        file = self.file(config, towers)
        try:
            answer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not made yet, or lost
            answer = _survey(normalised_config(config), towers)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, answer)
        if "error" in answer:
            raise StudioError.from_dict(answer["error"])
        return answer

    def file(self, config: Mapping[str, Any], towers: bool = False) -> Path:
        """Where the survey of a config.json is kept, by all that decides it."""
        about = {
            "config": normalised_config(config),
            "transformers": version("transformers"),
            "kind": f"{_KIND} towers" if towers else _KIND,
        }
        return self.folder / f"{json_hash(about)}.json"


def _survey(config: Mapping[str, Any], towers: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "studio.models.survey", *(["towers"] if towers else [])]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(config),
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StudioError("survey_failed", detail=f"no end within {_MOST_SECONDS} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise StudioError("survey_failed", detail=said[-1] if said else f"exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
