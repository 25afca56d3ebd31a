"""LoRA: a trained low-rank product beside each frozen weight matrix (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from studio.errors import Problem, Reason
from studio.methods import Dimensions, Method, MethodMemory, Reads, Serving, added_itemsize
from studio.models.forms import ROLES, linears
from studio.models.modules import Module, is_known, last_names, linears_of, modules_of, named, unknown_names
from studio.models.surveyed import Shape
from studio.params import param

ALL = (("auto",), ("all-linear",))
# Beyond this width a whole decomposition takes minutes, and the leading part is found by iteration.
WHOLE_SVD = 1024
# Statistics of a group of layers are held at once; for the next group the batches are read again.
GROUP_BYTES = 2**30


@dataclass(frozen=True)
class Start:
    """How the two matrices begin. `make` is the torch part (None: A at random, B zero); `reads` is what it
    looks at beside the weight; `rewrites`: what the two make together is taken out of the base, so that the
    model starts as it was."""

    make: str | None = None
    reads: Reads = "nothing"
    rewrites: bool = False


STARTS = {
    "default": Start(),
    "gaussian": Start("studio.train.lora_start:gaussian"),
    "orthogonal": Start("studio.train.lora_start:orthogonal"),
    "pissa": Start("studio.train.lora_start:pissa", rewrites=True),
    "olora": Start("studio.train.lora_start:olora", rewrites=True),
    "eva": Start("studio.train.lora_start:eva", reads="inputs"),
    "corda": Start("studio.train.lora_start:corda", reads="inputs", rewrites=True),
    "lora_ga": Start("studio.train.lora_start:lora_ga", reads="gradients", rewrites=True),
    "loftq": Start("studio.train.lora_start:loftq", reads="whole_weight"),
}
# Only a base in 4 bit has an error that loftq could start from.
WHOLE_STARTS = tuple(name for name, start in STARTS.items() if start.reads != "whole_weight")


@dataclass(frozen=True)
class LoraParams:
    rank: int = param(
        8, "Size of the trained matrices: higher can learn more, and costs more memory.", low=1, high=4096
    )
    alpha: float = param(
        16.0,
        "Strength of what was learned: it is scaled by alpha / rank.",
        low=0.001,
        high=65536,
        expert=True,
    )
    dropout: float = param(
        0.05,
        "Share of the inputs left out at random while training; helps against learning by heart.",
        low=0.0,
        high=0.95,
        expert=True,
    )
    targets: tuple[str, ...] = param(
        ("auto",),
        "The weight matrices that get an adapter, by name (q_proj) or by the end of a path, which may name "
        "single layers (0.self_attn.q_proj); auto and all-linear mean every linear layer of the decoder.",
        title="Target layers",
        expert=True,
    )
    rslora: bool = param(
        False,
        "Scales by alpha / square root of rank, so that a high rank learns as fast as a low one. Lower alpha "
        "when switching it on.",
        title="rsLoRA",
        expert=True,
    )
    dora: bool = param(
        False,
        "Trains the length of each weight row apart from its direction: often better at a low rank, and a "
        "slower step.",
        title="DoRA",
        expert=True,
    )
    init: str = param(
        "default",
        "How the trained matrices begin. default, gaussian and orthogonal draw them at random; pissa and "
        "olora begin with the weights' main directions; eva, corda and lora_ga first look at some rows of "
        "the data. The model starts out the same.",
        title="Initialisation",
        choices=WHOLE_STARTS,
        never={name: "init_needs_4_bit" for name in STARTS if name not in WHOLE_STARTS},
        expert=True,
    )
    lora_plus: float = param(
        1.0,
        "How many times faster the second matrix learns than the first (LoRA+; its authors use 16); 1 means "
        "alike.",
        title="LoRA+ ratio",
        low=0.01,
        high=1000,
        expert=True,
    )
    trainable_tokens: tuple[str, ...] = param(
        (),
        "Tokens whose own vectors train too, as text or number: for special tokens that the model does not "
        "know yet.",
        title="Trained tokens",
        expert=True,
    )
    modules_to_save: tuple[str, ...] = param(
        (),
        "Modules that train whole instead of getting an adapter, by name (lm_head, norm ...): they learn "
        "more and cost much more memory.",
        title="Modules trained whole",
        expert=True,
    )


def memory(dimensions: Dimensions, params: LoraParams, settings: Any) -> MethodMemory:
    """Two matrices of `rank` per adapted linear layer, and what else the params train; magnitudes are in 32
    bit always."""
    adapted = _adapted(dimensions, params)
    adapters = [shape for module in adapted for shape in _adapter(params, *module.shapes[0])]
    tokens = ((len(params.trainable_tokens), dimensions.hidden),) if params.trainable_tokens else ()
    modules = _whole_modules(dimensions, params.modules_to_save)
    trainable = (*adapters, *tokens, *modules)
    itemsize, held, start = added_itemsize(settings), 0, STARTS[params.init]
    if params.dora:
        held += (4 - itemsize) * sum(shape[0] for shape in adapters if len(shape) == 1)
    if start.rewrites:
        held += itemsize * sum(map(prod, adapters))  # where A and B began
    if tokens:
        # A forward pass puts the trained vectors into a copy of the whole table.
        held += dimensions.vocab * dimensions.hidden * (4 if settings.precision == "fp32" else 2)
    ranks, uneven = _ranks(dimensions, adapted, params.rank)
    matrices = {module.role: (module.shapes[0][0], module.shapes[0][1]) for module in adapted}
    return MethodMemory(
        trainable,
        itemsize,
        held,
        ranks,
        uneven,
        dropout=params.dropout > 0,
        dora=params.dora,
        trains_tokens=bool(tokens),
        whole=tuple(modules),
        decomposed=tuple(matrices.values()) if start.reads != "nothing" or start.rewrites else (),
        reads=start.reads,
        taken_out=start.rewrites,
    )


def _adapted(d: Dimensions, params: LoraParams) -> list[Module]:
    """The linear layers that get an adapter: what trains whole gets none."""
    wanted = None if params.targets in ALL else params.targets
    return [
        module
        for module in linears_of(d)
        if (wanted is None or any(named(module.path, name) for name in wanted))
        and not any(named(module.path, name) for name in params.modules_to_save)
    ]


def _ranks(d: Dimensions, adapted: list[Module], rank: int) -> tuple[dict[str, int], bool]:
    """As `MethodMemory` has them, and whether layers differ. A surveyed layer may have others than the usual
    ones, which a step is not computed with: alone they stand for all."""
    computed = ROLES | ({d.survey.gate} if d.survey else set())
    roles = [
        {m.role for m in adapted if m.layer == number and m.role in computed} for number in range(d.layers)
    ]
    if not any(roles):
        return {"*": rank}, False
    if all(each == roles[0] for each in roles):
        return {str(role): rank for role in roles[0]}, False
    return {f"{number}.{role}": rank for number, each in enumerate(roles) for role in each}, True


def offers(dimensions: Dimensions, *, packed: bool = False) -> dict[str, tuple[str, ...]]:
    """The names of the linear layers, and of what can train whole; `packed`: over a base in 4 bit."""
    if not is_known(dimensions):
        return {}
    named_whole = [m for m in modules_of(dimensions) or () if not (packed and m.packed)]
    found = {"targets": linears_of(dimensions), "modules_to_save": named_whole}
    return {key: tuple(last_names(modules)) for key, modules in found.items() if modules}


def choose(params: LoraParams, dimensions: Dimensions) -> tuple[LoraParams, dict[str, Reason]]:
    """Tokens whose vectors would train beside a table that trains whole yield to it."""
    tables = [m for m in modules_of(dimensions) or () if m.kind in _table_kinds(dimensions)]
    whole = [name for name in params.modules_to_save if any(named(table.path, name) for table in tables)]
    if not (whole and params.trainable_tokens):
        return params, {}
    facts = {"modules": whole, "tokens": list(params.trainable_tokens)}
    return replace(params, trainable_tokens=()), {"trainable_tokens": Reason("tokens_in_table", facts)}


def _table_kinds(d: Dimensions) -> tuple[str, ...]:
    """What the token table is: a head that is tied to it is the same."""
    return ("table", "head") if d.tied else ("table",)


def check(params: LoraParams, dimensions: Dimensions | None, *, packed: bool = False) -> list[Problem]:
    """Names that the model has not, and what cannot go together on it; `packed` as for `offers`."""
    names = [name for name in params.targets if (name,) not in ALL]
    if names and len(names) < len(params.targets):
        return [Problem("targets_all_and_some", "method.targets", {"names": names})]
    if dimensions is None or not is_known(dimensions):
        return []
    found = list(_unknown(params, names, dimensions, packed))
    tokens = (
        text for text in params.trainable_tokens if text.isdecimal() and float(text) >= dimensions.vocab
    )
    for text in tokens:
        facts = {"token": text, "tokens": dimensions.vocab}
        found.append(Problem("token_unknown", "method.trainable_tokens", facts))
    if not found and not (adapted := _adapted(dimensions, params)):
        return [
            Problem("targets_all_whole", "method.modules_to_save", {"modules": list(params.modules_to_save)})
        ]
    return found or _too_high(params, adapted)


def _unknown(params: LoraParams, names: list[str], d: Dimensions, packed: bool) -> Iterator[Problem]:
    """Targets and modules that the model has not, or holds in 4 bit."""
    linears, modules = linears_of(d), modules_of(d)
    if unknown := unknown_names(names, linears):
        facts = {"unknown": unknown, "count": len(unknown), "known": last_names(linears)}
        yield Problem("targets_unknown", "method.targets", facts)
    if modules is None:
        return
    usable = [module for module in modules if not (packed and module.packed)]
    if unknown := unknown_names(params.modules_to_save, usable):
        held = [name for name in unknown if name not in unknown_names(unknown, modules)]
        facts = {"unknown": held or unknown, "count": len(held or unknown), "known": last_names(usable)}
        yield Problem("modules_in_4_bit" if held else "modules_unknown", "method.modules_to_save", facts)


def _too_high(params: LoraParams, adapted: list[Module]) -> list[Problem]:
    """A rank beyond the directions that a beginning can find."""
    start = STARTS[params.init]
    if start.reads == "nothing" and not start.rewrites:
        return []
    rank = 2 * params.rank if start.reads == "gradients" else params.rank
    ends = slice(1, 2) if params.init == "eva" else slice(0, 2)
    most = min(min(module.shapes[0][ends]) for module in adapted)
    facts = {"rank": rank, "most": most}
    return [Problem("init_rank_too_high", "method.rank", facts)] if rank > most else []


def _adapter(params: LoraParams, outputs: int, inputs: int) -> list[tuple[int, ...]]:
    magnitudes: list[tuple[int, ...]] = [(outputs,)] if params.dora else []
    return [(params.rank, inputs), (outputs, params.rank), *magnitudes]


_TABLES = {"embed_tokens", "wte", "embed_in", "word_embeddings", "lm_head", "embed_out"}


def _whole_modules(d: Dimensions, names: tuple[str, ...]) -> list[Shape]:
    """Shapes of the modules trained whole; a head that is the table counts once."""
    modules = modules_of(d)
    if modules is None:
        return _guessed_modules(d, names)
    chosen = [module for module in modules if any(named(module.path, name) for name in names)]
    tables = [module for module in chosen if module.kind in _table_kinds(d)]
    return [shape for module in chosen if module not in tables[1:] for shape in module.shapes]


def _guessed_modules(d: Dimensions, names: tuple[str, ...]) -> list[Shape]:
    """The same of a model whose modules are not known: a full path is one of them, a bare name one in each
    layer; what has none of the usual names is taken for a norm."""
    shapes: list[Shape] = []
    tables = {name for name in names if name.rpartition(".")[2] in _TABLES}
    shapes += [(d.vocab, d.hidden)] * (min(1, len(tables)) if d.tied else len(tables))
    for name in set(names) - tables:
        last = name.rpartition(".")[2]
        shape = next(((a, b) for role, a, b in linears(d) if role == last), None)
        once = "." in name or last == "norm"
        shapes += [(shape[1], shape[0]) if shape else (d.hidden,)] * (1 if once else d.layers)
    return shapes


def rewrites_base(params: LoraParams) -> bool:
    """Whether the initialisation changes the base in memory."""
    return STARTS[params.init].rewrites


def serving(params: LoraParams) -> Serving:
    """A batch can mix plain adapters only: magnitudes, trained tokens and whole modules want a base of their
    own."""
    plain = not (params.dora or params.trainable_tokens or params.modules_to_save)
    return "batched" if plain else "own_copy"


EXTENSION = Method(
    id="lora",
    title="LoRA",
    summary="Trains small matrices beside the model's weights, which stay as they are. It costs the model's "
    "memory and what a step keeps of it, and next to nothing for the optimizer; a result is small and can be "
    "taken off again. Take it first, where the model fits.",
    params=LoraParams,
    torch="studio.train.lora:LoraTuner",
    memory=memory,
    quantised_base=True,
    mergeable=True,
    trains_base=False,
    rewrites_base=rewrites_base,
    serving=serving,
    choose=choose,
    check=check,
    offers=offers,
)
