"""Decoder layers on a tape of sizes: what transformers' own classes compute, operation by operation.

What distinguishes families stands in `studio.models.forms`. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from studio.memory.tape import (
    Node,
    Storage,
    Tape,
    Tensor,
    add,
    cast,
    joined,
    matmul,
    mul,
    part_of,
    scale,
    unary,
)
from studio.models.config import ModelFacts
from studio.models.forms import Form, form_of, linear_name


@dataclass
class Compute:
    """How a model computes: sizes of numbers, what trains, and which kernels run.

    `base` and `trained` are bytes per number of frozen and of trained weights; `ranks` are those of the
    adapters by name of their linear layer, "*" of all. `leaves` are the trained tensors met so far, by name.
    """

    facts: ModelFacts
    rows: int
    length: int
    base: int
    trained: int
    trains_base: bool = False
    autocast: bool = False
    quantised: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    dropout: bool = False
    cuda: bool = False
    kernel: str = "sdpa"
    frozen_layers: int = 0
    norms: int | None = None  # bytes per weight of a norm, where it is not `base`
    embedded: int | None = None  # bytes per number of the embeddings, where it is not `base`
    kernels: frozenset[str] = frozenset()
    leaves: dict[str, Node] = field(default_factory=dict)
    casts: dict[str, Storage] = field(default_factory=dict)
    cached: list[Storage | None] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def form(self) -> Form:
        return form_of(self.facts.model_type)

    def rank(self, role: str) -> int | None:
        """Of the adapter beside the linear layer with this role, None if it has none."""
        return self.ranks.get(linear_name(self.facts.model_type, role), self.ranks.get("*"))

    def leaf(self, tape: Tape, name: str) -> Node:
        """Where the gradients of a trained tensor go."""
        if name not in self.leaves:
            self.leaves[name] = tape.leaf(self.trained)
        return self.leaves[name]


# Parts of a layer


def linear(tape: Tape, c: Compute, x: Tensor, path: str, role: str, inputs: int, outputs: int) -> Tensor:
    """A linear layer, in 4 bit or not, trained or frozen, with an adapter or without."""
    name = f"{path}.{role}"
    if c.trains_base and int(path or 0) >= c.frozen_layers:
        return product(tape, c, x, name, inputs, outputs)
    out = _frozen(tape, c, x, inputs, outputs)
    rank = c.rank(role)
    if rank is None:
        return out
    if "lora" in c.kernels:
        return _fused_adapter(tape, c, x, out, name, inputs, outputs, rank)
    if c.quantised:  # peft makes a copy
        out = tape.result(tape.new(out.n, out.item), (out,), None, lambda g: (g,))
    narrow = x if c.autocast else cast(tape, x, c.trained)
    if c.dropout:
        narrow = drop(tape, c, narrow)
    narrow = product(tape, c, narrow, f"{name}.a", inputs, rank)
    if "padded" in c.kernels:
        learned = scale(tape, _padded(tape, c, narrow, name, rank, outputs))
    else:
        learned = scale(tape, product(tape, c, narrow, f"{name}.b", rank, outputs))
    del narrow
    if c.quantised:
        return add(tape, out, cast(tape, learned, out.item))
    return cast(tape, add(tape, out, learned), out.item)


def _padded(tape: Tape, c: Compute, narrow: Tensor, name: str, rank: int, outputs: int) -> Tensor:
    """An adapter of two thirds of a matrix, put into zeros of its whole width; keeps what it puts there."""
    source = product(tape, c, narrow, f"{name}.b", rank, 2 * outputs // 3)
    size = source.n
    out = tape.new(size // 2 * 3, source.item)
    return tape.result(out, (source,), source.storage, lambda g: (tape.new(size, g.item),))


def _fused_adapter(
    tape: Tape, c: Compute, x: Tensor, out: Tensor, name: str, inputs: int, outputs: int, rank: int
) -> Tensor:
    """A layer and its adapter in one function: keeps the input, and the input after dropout."""
    dropped = tape.new(x.n, 2).storage if c.dropout else None
    leaves = tuple(
        Tensor(rank * size, c.trained, None, c.leaf(tape, f"{name}.{end}"))
        for end, size in (("a", inputs), ("b", outputs))
    )
    n, item = x.n, x.item
    return tape.result(
        Tensor(out.n, out.item, out.storage),
        (x, *leaves),
        (x.storage, dropped),
        lambda _: (tape.new(n, item), tape.new(rank * inputs, 4), tape.new(rank * outputs, 4)),
    )


def _frozen(tape: Tape, c: Compute, x: Tensor, inputs: int, outputs: int) -> Tensor:
    """A product with a weight that gets no gradient: nothing is kept for it. A 4-bit layer computes in 16 bit
    and returns what it was given."""
    given = x.item
    if c.autocast or (c.quantised and c.base == 2):
        x = cast(tape, x, 2)
    n, item, size = x.n, x.item, inputs * outputs * x.item
    whole = tape.held(size, "workspace") if c.quantised and c.cuda else None
    out = tape.new(n // inputs * outputs, item)
    del whole

    def back(g: Tensor) -> tuple[Tensor]:
        dense = tape.held(size, "workspace") if c.quantised and c.cuda else None
        gradient = tape.new(n, g.item)
        del dense
        return (gradient,)

    out = tape.result(out, (x,), None, back)
    return cast(tape, out, given) if c.quantised else out


def product(tape: Tape, c: Compute, x: Tensor, name: str, inputs: int, outputs: int) -> Tensor:
    """A product with a trained weight, which keeps its input."""
    weight = Tensor(inputs * outputs, c.trained, None, c.leaf(tape, name))
    if c.autocast:
        x = cast(tape, x, 2)
        weight = _cast_weight(tape, c, weight, name)
    out = tape.new(x.n // inputs * outputs, x.item)
    wanted, n, item = x.node is not None, x.n, x.item

    def back(g: Tensor) -> tuple[Tensor | None, Tensor]:
        for_x = tape.new(n, g.item) if wanted else None
        return for_x, tape.new(inputs * outputs, item)

    return tape.result(out, (x, weight), (x.storage, weight.storage), back)


def _cast_weight(tape: Tape, c: Compute, weight: Tensor, name: str) -> Tensor:
    """Autocast keeps the 16-bit copy of a trained weight until the forward pass is over."""
    if c.trained == 2:
        return weight
    if name not in c.casts:
        storage = tape.new(weight.n, 2).storage
        assert storage is not None
        c.casts[name] = storage
    out = Tensor(weight.n, 2, c.casts[name])
    return tape.result(out, (weight,), None, lambda g: (tape.new(g.n, 4),))


def drop(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """Dropout: the studio's own on a processor, torch's on a GPU."""
    if c.cuda:
        return tape.result(
            tape.new(x.n, x.item), (x,), tape.new(x.n, 1).storage, lambda g: (tape.new(g.n, g.item),)
        )
    draws = tape.new(x.n, 2)
    kept = unary(tape, tape.new(x.n, 1), "nothing", item=x.item)
    del draws
    return mul(tape, x, kept)


def normed(tape: Tape, c: Compute, x: Tensor, path: str, width: int) -> Tensor:
    """The family's normalisation over the last `width` elements."""
    weight = Tensor(width, c.trained if c.trains_base else c.norms or c.base, None, None)
    if c.autocast and c.cuda and c.form.norm == "layer":  # on CUDA's list of operations in 32 bit
        x = cast(tape, x, 4)
    if "rms" in c.kernels:
        return _one_kernel(tape, x, x.n // width)
    if c.trains_base and (not path[0].isdigit() or int(path.partition(".")[0]) >= c.frozen_layers):
        weight.node = c.leaf(tape, path)
    return _NORMS[c.form.norm](tape, x, weight, x.n // width)


def _rms(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """In 32 bit, the weight in the input's own dtype."""
    return mul(tape, cast(tape, _scaled(tape, cast(tape, x, 4), groups), x.item), weight)


def _gemma(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """All of it in 32 bit; the weight counts from one."""
    weight = scale(tape, cast(tape, weight, 4))
    return cast(tape, rms(tape, cast(tape, x, 4), weight, groups), x.item)


def rms(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """x over its root mean square in each group, times a weight."""
    return mul(tape, _scaled(tape, x, groups), weight)


def _scaled(tape: Tape, x: Tensor, groups: int) -> Tensor:
    square = unary(tape, x, "input")
    spread = unary(tape, square, "nothing", n=groups)
    del square
    return mul(tape, x, unary(tape, spread, "output"))


def _cohere(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    item = x.item
    x = cast(tape, x, 4)
    mean = unary(tape, x, "nothing", n=groups)
    square = unary(tape, _less(tape, x, mean), "input")
    spread = unary(tape, square, "nothing", n=groups)
    del square
    scaled = mul(tape, _less(tape, x, mean), unary(tape, spread, "output"))
    del x, mean, spread
    return cast(tape, mul(tape, cast(tape, weight, 4), scaled), item)


def _less(tape: Tape, x: Tensor, mean: Tensor) -> Tensor:
    groups = mean.n
    return tape.result(tape.new(x.n, x.item), (x, mean), None, lambda g: (g, tape.new(groups, g.item)))


def _layer(tape: Tape, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    out, stats = tape.new(x.n, x.item), tape.new(2 * groups, 4)
    n, item, width = x.n, x.item, weight.n
    return tape.result(
        out, (x, weight), (x.storage, stats.storage), lambda _: (tape.new(n, item), tape.new(2 * width, item))
    )


def _one_kernel(tape: Tape, x: Tensor, groups: int) -> Tensor:
    """A norm in one kernel: keeps its input and a number per group."""
    n, item, stats = x.n, x.item, tape.new(groups, 4)
    return tape.result(tape.new(n, item), (x,), (x.storage, stats.storage), lambda _: (tape.new(n, item),))


_NORMS: dict[str, Callable[[Tape, Tensor, Tensor, int], Tensor]] = {
    "rms": _rms,
    "gemma": _gemma,
    "cohere": _cohere,
    "layer": _layer,
}


def rotated(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """Rotary positions: x cos + rotate_half(x) sin."""
    if "rope" in c.kernels:  # in place
        return x
    item = x.item
    if c.form.norm == "cohere":
        x = cast(tape, x, 4)
    fixed = Tensor(1, x.item, None)
    straight = mul(tape, x, fixed)
    first, second = part_of(tape, x, x.n // 2), part_of(tape, x, x.n - x.n // 2)
    turned = joined(tape, (scale(tape, second), first))
    del first, second, x
    out = add(tape, straight, mul(tape, turned, fixed))
    del straight, turned
    if c.form.partial:
        out = joined(tape, (out,))
    return cast(tape, out, item)


def attention(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """Self-attention of a layer, with its four projections."""
    d, form = c.facts, c.form
    wide, narrow = d.heads * d.head_dim, d.kv_heads * d.head_dim
    if form.fused_qkv:
        whole = linear(tape, c, x, path, "qkv", d.hidden, wide + 2 * narrow)
        query, key, value = (part_of(tape, whole, c.tokens * size) for size in (wide, narrow, narrow))
        if "cached" in c.kernels and not tape.saving:
            c.cached.append(whole.storage)
        del whole
    else:
        query = linear(tape, c, x, path, "q_proj", d.hidden, wide)
        if form.scaled_query:
            query = scale(tape, query)
        if form.head_norms:
            query = normed(tape, c, query, f"{path}.q_norm", d.head_dim)
        key = linear(tape, c, x, path, "k_proj", d.hidden, narrow)
        if form.head_norms:
            key = normed(tape, c, key, f"{path}.k_norm", d.head_dim)
        value = linear(tape, c, x, path, "v_proj", d.hidden, narrow)
    del x
    if form.rope:
        query, key = rotated(tape, c, query), rotated(tape, c, key)
    if c.kernel == "math":
        mixed = _math(tape, c, query, key, value)
    elif form.capped or c.kernel == "eager":
        mixed = _eager(tape, c, query, key, value)
    else:
        mixed = _fused(tape, c, query, key, value)
    del query, key, value
    return linear(tape, c, mixed, path, "o_proj", wide, d.hidden)


def _fused(tape: Tape, c: Compute, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """A kernel that keeps its inputs, its output and one number per head and token."""
    if c.kernel == "flash":  # it has no 32 bit
        query, key, value = cast(tape, query, 2), cast(tape, key, 2), cast(tape, value, 2)
    if "repeated" in c.kernels:
        key, value = _repeated(tape, key, query.n), _repeated(tape, value, query.n)
    out, sums = tape.new(query.n, query.item), tape.new(c.tokens * c.facts.heads, 4)
    saved = (query.storage, key.storage, value.storage, out.storage, sums.storage)
    sizes = [(x.n, x.item) for x in (query, key, value)]
    wide = query.n

    def back(g: Tensor) -> tuple[Tensor, ...]:
        del g
        # On a GPU sums in 32 bit, and gradients of shared keys and values for each head that shares them.
        sums = tape.new(wide, 4) if c.cuda else None
        shared = tape.new(2 * wide, 2) if c.cuda and sizes[1][0] != wide else None
        out = tuple(tape.new(*size) for size in sizes)
        del sums, shared
        return out

    return tape.result(out, (query, key, value), saved, back)


def _eager(tape: Tape, c: Compute, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scores of all pairs, written out."""
    pairs = c.rows * c.facts.heads * c.length**2
    if c.facts.kv_heads != c.facts.heads:
        key, value = _repeated(tape, key, query.n), _repeated(tape, value, query.n)
    scores = scale(tape, matmul(tape, query, key, pairs))
    del query, key
    if c.form.capped:
        scores = scale(tape, unary(tape, scale(tape, scores), "output"))
    scores = add(tape, scores, Tensor(pairs, scores.item, None))
    weights = cast(tape, unary(tape, cast(tape, scores, 4), "output"), value.item)
    del scores
    mixed = matmul(tape, weights, value, c.tokens * c.facts.heads * c.facts.head_dim)
    return tape.result(tape.new(mixed.n, mixed.item), (mixed,), None, lambda g: (g,))


def _math(tape: Tape, c: Compute, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own kernel without a fused one: in 32 bit, with a mask."""
    pairs, item = c.rows * c.facts.heads * c.length**2, query.item
    query, key, value = cast(tape, query, 4), cast(tape, key, 4), cast(tape, value, 4)
    if c.facts.kv_heads != c.facts.heads:
        key, value = _repeated(tape, key, query.n), _repeated(tape, value, query.n)
    query, key = scale(tape, query), scale(tape, key)
    causal = tape.new(c.length**2, 4)
    scores = matmul(tape, query, key, pairs)
    del query, key
    likely = unary(tape, scores, "output")
    del scores, causal
    return cast(tape, matmul(tape, likely, value, c.tokens * c.facts.heads * c.facts.head_dim), item)


def _repeated(tape: Tape, x: Tensor, n: int) -> Tensor:
    size = x.n
    return tape.result(tape.new(n, x.item), (x,), None, lambda g: (tape.new(size, g.item),))


def mlp(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """The feed-forward part of a layer."""
    d, form = c.facts, c.form
    if form.mlp == "plain":
        inner = _activated(tape, form, linear(tape, c, x, path, "up_proj", d.hidden, d.intermediate))
    elif form.mlp == "fused":
        both = linear(tape, c, x, path, "gate_up", d.hidden, 2 * d.intermediate)
        half = both.n // 2
        gate, up = part_of(tape, both, half), part_of(tape, both, half)
        del both
        inner = mul(tape, up, _activated(tape, form, gate))
        del gate, up
    else:
        gate = _activated(tape, form, linear(tape, c, x, path, "gate_proj", d.hidden, d.intermediate))
        inner = mul(tape, gate, linear(tape, c, x, path, "up_proj", d.hidden, d.intermediate))
        del gate
    del x
    return linear(tape, c, inner, path, "down_proj", d.intermediate, d.hidden)


def _activated(tape: Tape, form: Form, x: Tensor) -> Tensor:
    if form.activation == "output":
        return unary(tape, x, "output")
    if form.activation == "kernel":
        return unary(tape, x, "input")
    half = scale(tape, x)
    inside = scale(tape, add(tape, x, scale(tape, unary(tape, x, "input"))))
    return mul(tape, half, scale(tape, unary(tape, inside, "output")))


def decoder_layer(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """One whole layer; `path` is its number."""
    form, hidden = c.form, c.facts.hidden
    if form.parallel:
        read = normed(tape, c, x, f"{path}.norm", hidden)
        mixed = attention(tape, c, read, path)
        if not form.one_norm:
            read = normed(tape, c, x, f"{path}.second_norm", hidden)
        thought = mlp(tape, c, read, path)
        del read
        return add(tape, add(tape, mixed, thought), x)
    mixed = attention(tape, c, normed(tape, c, x, f"{path}.norm", hidden), path)
    if form.dropped:
        mixed = drop(tape, c, mixed)
    if form.sandwich:
        mixed = normed(tape, c, mixed, f"{path}.after_attention", hidden)
    if form.scaled:
        mixed = scale(tape, mixed)
    x = add(tape, x, mixed)
    del mixed
    thought = mlp(tape, c, normed(tape, c, x, f"{path}.second_norm", hidden), path)
    if form.dropped:
        thought = drop(tape, c, thought)
    if form.sandwich:
        thought = normed(tape, c, thought, f"{path}.after_mlp", hidden)
    if form.scaled:
        thought = scale(tape, thought)
    return add(tape, x, thought)
