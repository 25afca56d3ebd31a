"""What is being mixed, as a value: adapters of one base, their weights, the rule, the question. No Gradio."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from backend.api import MergeRequest
from backend.api.chat import ChatModel
from studio.errors import StudioError
from studio.names import ADDED_UP, mix, mix_of, parse

LOW, HIGH, STEP = -1.0, 2.0, 0.05  # of a weight's slider
BASE, TUNED = 0.0, 1.0  # the ends of that of a run towards its base
DENSITIES = (0.05, 0.1, 0.2, 0.5)
MAX_JOBS = 4  # that are shown
PROMPT = "chat.try.any.1"  # the key of the first question


@dataclass(frozen=True)
class Mixer:
    """`weights` are those of the adapters that take part. `density`: what share of its numbers a saved
    adapter keeps as ternary ones; None keeps all as they are. `jobs` are the last ones started here,
    newest first; `in_4_bit`, the adapters over a base in 4 bit; `whole`, the runs that trained the base's own
    weights: such a run goes alone, between its base (0) and itself (1)."""

    base: str = ""
    weights: tuple[tuple[str, float], ...] = ()
    how: str = ADDED_UP
    settings: Mapping[str, str] = field(default_factory=dict)
    density: float | None = None
    exact: bool = False
    prompt: str = ""
    jobs: tuple[str, ...] = ()
    in_4_bit: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def between(self) -> bool:
        """Whether it is a run towards its base, and no mix of adapters."""
        return any(name in self.whole for name, _ in self.weights)

    @property
    def may_be_exact(self) -> bool:
        """Whether it can go into rounded weights: all that takes part learned on such."""
        return bool(self.weights) and all(name in self.in_4_bit for name, _ in self.weights)

    @property
    def model(self) -> str | None:
        """The name of the mix; None while nothing takes part."""
        return str(mix(self.base, self.weights, self.how, self.settings)) if self.weights else None

    def weight(self, model: str) -> float | None:
        """None: it takes no part."""
        return dict(self.weights).get(model)


def begin(models: Sequence[ChatModel]) -> Mixer:
    """The two newest adapters of the newest one's base, half each; the only one, whole, and so what goes
    alone if it is the newest."""
    return choose_base(Mixer(), models[0].base, models) if models else Mixer()


def choose_base(mixer: Mixer, base: str, models: Sequence[ChatModel]) -> Mixer:
    whole = tuple(model.name for model in models if model.copied is not None)
    names = [model.name for model in models if model.base == base]
    alone = names[0] in whole
    names = names[:1] if alone else [name for name in names if name not in whole][:2]
    in_4_bit = tuple(model.name for model in models if model.in_4_bit)
    weights = tuple((name, 1.0 / len(names)) for name in names)
    mixer = choose_rule(mixer, ADDED_UP) if alone else mixer
    return replace(mixer, base=base, weights=weights, in_4_bit=in_4_bit, whole=whole)


def take(mixer: Mixer, model: str, part: bool) -> Mixer:
    """Let an adapter take part, or leave it out. What goes alone takes the place of all others, and they
    its."""
    rest = tuple(pair for pair in mixer.weights if pair[0] != model)
    if part and model in mixer.whole:
        return replace(choose_rule(mixer, ADDED_UP), weights=((model, 1.0),))
    if part and mixer.between:
        rest = ()
    return replace(mixer, weights=(*rest, (model, 1.0)) if part else rest)


def weigh(mixer: Mixer, model: str, value: str) -> Mixer:
    """A slider was let go; what is no number changes nothing."""
    try:
        weight = round(float(value), 4)
    except ValueError:
        return mixer
    if not math.isfinite(weight):
        return mixer
    return replace(mixer, weights=tuple((name, weight if name == model else w) for name, w in mixer.weights))


def choose_rule(mixer: Mixer, how: str) -> Mixer:
    return replace(mixer, how=how, settings={})


def set_param(mixer: Mixer, name: str, value: str) -> Mixer:
    """A setting of the rule; empty: the rule's own."""
    rest = {key: given for key, given in mixer.settings.items() if key != name}
    return replace(mixer, settings={**rest, name: value} if value else rest)


def started(mixer: Mixer, job: str) -> Mixer:
    """A merge or a measurement was begun; those before it stay in sight."""
    return replace(mixer, jobs=(job, *(other for other in mixer.jobs if other != job))[:MAX_JOBS])


def save_request(mixer: Mixer) -> MergeRequest:
    """What saves the mix as an adapter."""
    models, weights = zip(*mixer.weights, strict=True)
    return MergeRequest(models, mixer.how, weights, mixer.settings, compress=mixer.density)


def base_request(mixer: Mixer) -> MergeRequest:
    """What merges it into the base; one run alone keeps its weight and needs no adapter between."""
    exact = mixer.exact and mixer.may_be_exact
    if len(mixer.weights) == 1 and mixer.how == ADDED_UP:
        ((name, weight),) = mixer.weights
        return MergeRequest([name], weights=[weight], exact=exact)
    assert mixer.model is not None  # the button is off without adapters
    return MergeRequest([mixer.model], exact=exact)


def to_query(mixer: Mixer, tab: str) -> str:
    """The page's address for this mix."""
    pairs = [("tab", tab), ("mix", mixer.model), ("ask", mixer.prompt), *(("job", job) for job in mixer.jobs)]
    return urlencode([(key, value) for key, value in pairs if value])


def from_query(query: str, models: Sequence[ChatModel]) -> Mixer:
    """The mix of an address, as far as its adapters are there; without one, the first."""
    given = parse_qs(query.lstrip("?"))
    found = {key: values[0] for key, values in given.items()}
    jobs = tuple(given.get("job", ()))[:MAX_JOBS]
    mixer = replace(begin(models), prompt=found.get("ask", ""), jobs=jobs)
    try:
        named: Any = mix_of(parse(found["mix"]))
    except (KeyError, json.JSONDecodeError, StudioError):  # none, or somebody wrote the address by hand
        return mixer
    there = {model.name for model in models if model.base == str(named.base)}
    weights = tuple((str(name), weight) for name, weight in named.adapters if str(name) in there)
    settings = {key: str(value) for key, value in named.params.items()}
    return replace(mixer, base=str(named.base), weights=weights, how=named.how, settings=settings)
