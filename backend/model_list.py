"""The models that a run can start from: those proposed, and any other that a person names."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend import memory
from backend.api import HardwareReport, ModelInfo
from backend.hardware import choose_device
from studio.defaults import RunFacts, resolve
from studio.errors import StudioError
from studio.memory.fit import Case
from studio.memory.verdict import Verdict, verdict
from studio.models import catalogue, hub
from studio.models.config import ModelFacts, counts_first, load_config, read_config, to_survey
from studio.models.folder import check_causal, check_weights
from studio.models.headers import weight_files
from studio.models.locate import locate
from studio.models.survey_apart import Surveys
from studio.names import ModelName, parse
from studio.plan import methods, parse_request

# What the list promises: that a run over rows of this length can start, one row at a time if need be.
TOKENS = 512
ROWS = 10_000
# The usual method, then those that need less, the nearest to it first.
_BY_PREFERENCE = ("lora", "qlora", "lst", "qst")


class ModelList:
    """Looks models up; what the hub said is kept, so that it is asked once per model and process, and what a
    survey found in `surveys`, for good. `runs` holds the merges."""

    def __init__(self, surveys: Path, runs: Path) -> None:
        self._surveys = Surveys(surveys)
        self._runs = runs
        self._asked: dict[str, tuple[ModelFacts, hub.HubRepo]] = {}
        self._lock = threading.Lock()

    def locate(self, name: ModelName) -> Path:
        """The folder of a model on disk; raises what `studio.models.locate` raises."""
        return locate(name, self._runs)

    def proposed(self, hardware: HardwareReport, own: Sequence[str] = ()) -> list[ModelInfo]:
        """The catalogue, and the person's `own` models that are not in it, with whether each fits here."""
        found = [_of_catalogue(entry, hardware) for entry in catalogue.entries()]
        for name in map(parse, own):
            with suppress(StudioError):  # moved away or broken: the list of what is on the disk says so
                if catalogue.find(str(name)) is None:
                    found.append(self._on_disk(name, self.locate(name), hardware))
        return found

    def find(self, name: str, hardware: HardwareReport) -> ModelInfo:
        """Any model by name. For one of the hub that is neither proposed nor on disk the hub is asked.

        Raises what `studio.names.parse`, `studio.models.locate.locate` and `studio.models.hub` raise.
        """
        parsed = parse(name)
        if entry := catalogue.find(str(parsed)):
            return _of_catalogue(entry, hardware, str(parsed))
        try:
            return self._on_disk(parsed, self.locate(parsed), hardware)
        except StudioError as error:
            if error.code != "model_not_on_disk":
                raise
        facts, repo = self._ask_hub(parsed)
        files = {file.name: file.size for file in repo.needed}
        size = sum(files[file] for file in weight_files(files))
        return _info(str(parsed), parsed.value, "", facts, size, repo.licence, repo.gated, False, hardware)

    def facts(self, name: ModelName) -> ModelFacts | None:
        """Sizes of a model that is not on disk, as far as they are known without asking anybody."""
        if entry := catalogue.find(str(name)):
            return entry.facts
        with self._lock:
            asked = self._asked.get(str(name))
        return asked[0] if asked else None

    def sizes(self, name: ModelName) -> ModelFacts:
        """Sizes of a model; of one that is not on disk the hub is asked. A path may lead to a config.json.
        It need not be of a family that can be tuned, but then takes seconds the first time."""
        if (entry := catalogue.find(str(name))) is not None:
            return entry.facts
        if name.kind == "path" and Path(name.value).exists():
            return read_config(Path(name.value), self._surveys)
        try:
            return self._tunable(name)
        except StudioError as error:
            counted = error.code.startswith("architecture_") or error.code == "model_remote_code"
            if not counted or name.kind != "hub":
                raise
            where = hub.local_folder(name.value, name.revision) or hub.fetch_config(name.value, name.revision)
            if error.code == "model_remote_code" and to_survey(_config_in(where)):
                raise
        return read_config(where, self._surveys)

    def _tunable(self, name: ModelName) -> ModelFacts:
        try:
            return self.of_folder(self.locate(name))
        except StudioError as error:
            if error.code != "model_not_on_disk":
                raise
        return self._ask_hub(name)[0]

    def counts_first(self, name: str) -> bool:
        """Whether `sizes` of a model on disk takes seconds now, but not again."""
        parsed = parse(name)
        if parsed.kind == "path":
            where: Path | None = Path(parsed.value)
        else:
            where = hub.local_folder(parsed.value, parsed.revision) if parsed.kind == "hub" else None
        if where is None or not where.exists():
            return False
        return counts_first(_config_in(where), self._surveys)

    def config(self, name: ModelName) -> Mapping[str, Any]:
        """What a model's config.json says; of one that is not on disk what decides sizes, or the hub's."""
        if name.kind == "path" and Path(name.value).is_file():
            return load_config(Path(name.value))
        try:
            return load_config(self.locate(name) / "config.json")
        except StudioError as error:
            if error.code != "model_not_on_disk":
                raise
        if (entry := catalogue.find(str(name))) is not None:
            return entry.config
        return load_config(hub.fetch_config(name.value, name.revision))

    def of_folder(self, folder: Path) -> ModelFacts:
        """Sizes of a model on disk; of a family that is not known they take seconds the first time."""
        return read_config(folder, self._surveys)

    def _on_disk(self, name: ModelName, folder: Path, hardware: HardwareReport) -> ModelInfo:
        files = weight_files([file.name for file in folder.iterdir()])
        size = sum((folder / file).stat().st_size for file in files)
        title = name.value if name.kind in ("hub", "merge") else folder.name
        return _info(str(name), title, "", self.of_folder(folder), size, None, False, True, hardware)

    def _ask_hub(self, name: ModelName) -> tuple[ModelFacts, hub.HubRepo]:
        with self._lock:
            if (known := self._asked.get(str(name))) is not None:
                return known
        repo = hub.hub_files(name.value, name.revision)
        config = hub.fetch_config(name.value, name.revision)
        check_causal(load_config(config), str(name))
        facts = read_config(config, self._surveys)
        check_weights([file.name for file in repo.files], str(name))
        with self._lock:
            self._asked[str(name)] = (facts, repo)
        return facts, repo


def _config_in(where: Path) -> dict[str, Any]:
    return load_config(where if where.is_file() else where / "config.json")


def _of_catalogue(entry: catalogue.Entry, hardware: HardwareReport, name: str | None = None) -> ModelInfo:
    parsed = parse(name or entry.name)
    on_disk = parsed.kind == "starter" or hub.local_folder(parsed.value, parsed.revision) is not None
    return _info(
        str(parsed),
        entry.title,
        entry.summary,
        entry.facts,
        entry.size_bytes,
        entry.licence,
        entry.gated,
        on_disk,
        hardware,
    )


def _info(
    name: str,
    title: str,
    summary: str,
    facts: ModelFacts,
    size: int,
    licence: str | None,
    gated: bool,
    on_disk: bool,
    hardware: HardwareReport,
) -> ModelInfo:
    method, needed, fits = _fits(facts, hardware)
    return ModelInfo(
        name=name,
        title=title,
        summary=summary,
        parameters=facts.parameters,
        size_bytes=size,
        licence=licence,
        context=facts.context,
        architecture=facts.architecture or facts.model_type,
        on_disk=on_disk,
        gated=gated,
        fits=fits,
        needed_bytes=needed,
        with_method=_short(methods.get(method).title) if method not in (None, _BY_PREFERENCE[0]) else None,
    )


def _short(title: str) -> str:
    """`QST` for `Quantised side-tuning (QST)`."""
    return title.rpartition("(")[2].rstrip(")")


def _fits(facts: ModelFacts, hardware: HardwareReport) -> tuple[str | None, int | None, Verdict | None]:
    """The first method by which this machine can tune a model, what it needs, and whether that fits; where
    none does, the one that needs least."""
    if facts.parameters is None:
        return None, None, None
    device, reason = choose_device(hardware, None)
    known = RunFacts(
        rows=ROWS,
        heldout_rows=0,
        longest=TOKENS,
        p95=TOKENS,
        model=facts,
        device=device,
        device_reason=reason,
        cores=hardware.cpu_cores,
        free_bytes=memory.free_bytes(hardware, device),
        fast_bf16=memory.fast_bf16(device),
        learned=1.0,
        capacity=memory.capacity(hardware, device),
        capability=memory.capability(hardware, device),
    )
    barred = memory.barred(device)
    return _first_that_fits([id for id in _BY_PREFERENCE if id not in barred], known)


def _first_that_fits(ids: Sequence[str], known: RunFacts) -> tuple[str, int, Verdict | None]:
    """Of these methods; else the first that is tight, else the last."""
    assert known.model is not None
    free, tight = known.free_bytes, None
    for id in ids:
        plan, _ = resolve(parse_request("", "", id, set={"batch": 1}), known)
        case = Case(plan, known)
        if id != ids[-1] and free is not None and not case.may_fit(free):
            continue
        needed = case.needed()
        found = (id, needed, verdict(needed, free))
        if found[2] in ("yes", None):
            return found
        if found[2] == "tight":
            tight = tight or found
    return tight or found
