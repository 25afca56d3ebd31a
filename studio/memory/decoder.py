"""Decoder layers on a tape of sizes: what transformers' own classes compute, operation by operation.

What distinguishes families stands in `studio.models.forms`. No torch.
"""

from __future__ import annotations

from studio.memory.adapters import linear
from studio.memory.experts import experts
from studio.memory.layers import Compute, copied, dropped
from studio.memory.norms import normed
from studio.memory.operations import add, cast, joined, matmul, mul, part_of, power, scale, split, unary
from studio.memory.tape import Tape, Tensor


def rotated(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    """Rotary positions: x cos + rotate_half(x) sin."""
    if "rope" in c.kernels:  # in place
        return x
    item, passed = x.item, None
    if c.form.norm == "cohere":
        x = cast(tape, x, 4)
    if c.form.partial:
        size = x.n // c.facts.head_dim * int(c.facts.head_dim * c.form.turned)
        passed = part_of(tape, x, x.n - size)
        x = part_of(tape, x, size) if size < x.n else x
    fixed = Tensor(1, x.item, None)
    straight = mul(tape, x, fixed)
    first, second = part_of(tape, x, x.n // 2), part_of(tape, x, x.n - x.n // 2)
    turned = joined(tape, (scale(tape, second), first))
    del first, second, x
    out = add(tape, straight, mul(tape, turned, fixed))
    del straight, turned
    if passed is not None:
        out = joined(tape, (out, passed))
    return cast(tape, out, item)


def attention(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """Self-attention of a layer, with its four projections."""
    d, form = c.facts, c.form
    wide, narrow = d.heads * d.head_dim, d.kv_heads * d.head_dim
    if form.fused_qkv:
        whole = linear(tape, c, x, path, "qkv", d.hidden, wide + 2 * narrow)
        if form.fused_qkv == "split":
            query, key, value = split(tape, whole, 3)
        else:
            query, key, value = (part_of(tape, whole, c.tokens * size) for size in (wide, narrow, narrow))
            if "cached" in c.kernels and not tape.saving:
                c.kept.append(whole.storage)
        del whole
        if form.shared:
            key, value = copied(tape, key), copied(tape, value)
        if form.shared == "copies" and d.kv_heads != d.heads:
            query = copied(tape, query)
            key, value = _repeated(tape, key, query.n), _repeated(tape, value, query.n)
    else:
        query = linear(tape, c, x, path, "q_proj", d.hidden, wide)
        if form.scaled_query:
            query = scale(tape, query)
        if "query" in form.head_norms:
            query = normed(tape, c, query, f"{path}.q_norm", d.head_dim)
        key = linear(tape, c, x, path, "k_proj", d.hidden, narrow)
        if "key" in form.head_norms:
            key = normed(tape, c, key, f"{path}.k_norm", d.head_dim)
        value = linear(tape, c, x, path, "v_proj", d.hidden, narrow)
    del x
    if form.rope:
        query, key = rotated(tape, c, query), rotated(tape, c, key)
    if c.kernel == "math":
        mixed = _math(tape, c, query, key, value)
    elif form.capped or form.eager or c.kernel == "eager":
        mixed = _eager(tape, c, query, key, value)
    elif form.shared == "product" or (form.dropped_scores and not c.cuda):
        mixed = _written_out(tape, c, query, key, value)
    else:
        mixed = _fused(tape, c, query, key, value, c.masked(int(path)))
        if form.partial:  # heads put together anew stand one behind the other, and so does the result
            mixed = copied(tape, mixed)
    del query, key, value
    return linear(tape, c, mixed, path, "o_proj", wide, d.hidden)


def _fused(tape: Tape, c: Compute, query: Tensor, key: Tensor, value: Tensor, masked: bool) -> Tensor:
    """A kernel that keeps its inputs, its output and one number per head and token; where it is given a mask
    of true and false, that in numbers too, for each layer anew, and shared keys and values for each head."""
    if "repeated" in c.kernels or (masked and key.n != query.n):
        key, value = _repeated(tape, key, query.n), _repeated(tape, value, query.n)
    if c.autocast or c.kernel == "flash":  # it has no 32 bit
        query, key, value = cast(tape, query, 2), cast(tape, key, 2), cast(tape, value, 2)
    told = masked or c.form.masks == "true"
    mask = tape.new(c.rows * c.length**2, query.item).storage if told else None
    if c.form.masks == "distances" and c.autocast and c.base == 4:  # in numbers already, and narrowed
        mask = tape.new(c.facts.heads * c.rows * c.length**2, 2).storage
    out, sums = tape.new(query.n, query.item), tape.new(c.tokens * c.facts.heads, 4)
    saved = (query.storage, key.storage, value.storage, out.storage, sums.storage, mask)
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
        scores = scale(tape, scores)
        scores = unary(tape, scores, "output")
        scores = scale(tape, scores)
    scores = add(tape, scores, Tensor(pairs, scores.item, None))
    weights = cast(tape, unary(tape, cast(tape, scores, 4), "output"), value.item)
    del scores
    mixed = matmul(tape, weights, value, c.tokens * c.facts.heads * c.facts.head_dim)
    return copied(tape, mixed)


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


def _written_out(tape: Tape, c: Compute, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own kernel where no fused one serves (one key for all heads; dropout on a processor): in 32
    bit, heads put together anew for the products."""
    pairs, wide, item = c.rows * c.facts.heads * c.length**2, query.n, query.item
    query, key, value = cast(tape, query, 4), cast(tape, key, 4), cast(tape, value, 4)
    causal = tape.new(c.length**2 * (c.rows if c.form.masks else 1), 4)
    query, key = copied(tape, scale(tape, query)), _repeated(tape, scale(tape, key), wide)
    scores = matmul(tape, query, key, pairs)
    del query, key
    likely = unary(tape, scores, "output")
    del scores, causal
    if c.form.dropped_scores:
        likely = dropped(tape, c, likely)
    mixed = cast(tape, matmul(tape, likely, _repeated(tape, value, wide), wide), item)
    return copied(tape, mixed)


def _repeated(tape: Tape, x: Tensor, n: int) -> Tensor:
    size = x.n
    return tape.result(tape.new(n, x.item), (x,), None, lambda g: (tape.new(size, g.item),))


def mlp(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """The feed-forward part of a layer."""
    d, form = c.facts, c.form
    if form.mlp == "experts":
        shared = _shared_expert(tape, c, x, path) if form.shared_expert else None
        out = experts(tape, c, x, path)
        return add(tape, out, shared) if shared else out
    if form.mlp == "gated":
        return _gated(tape, c, x, path, d.intermediate)
    if form.mlp == "plain":
        inner = _activated(tape, c, linear(tape, c, x, path, "up_proj", d.hidden, d.intermediate))
    else:
        gate, up = split(tape, linear(tape, c, x, path, "gate_up", d.hidden, 2 * d.intermediate), 2)
        inner = mul(tape, up, _activated(tape, c, gate))
        del gate, up
    del x
    return linear(tape, c, inner, path, "down_proj", d.intermediate, d.hidden)


def _gated(tape: Tape, c: Compute, x: Tensor, path: str, width: int) -> Tensor:
    gate = _activated(tape, c, linear(tape, c, x, path, "gate_proj", c.facts.hidden, width))
    inner = mul(tape, gate, linear(tape, c, x, path, "up_proj", c.facts.hidden, width))
    del gate, x
    return linear(tape, c, inner, path, "down_proj", width, c.facts.hidden)


def _shared_expert(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """An expert that all tokens go through; what it makes may be weighed, one number a token."""
    made = _gated(tape, c, x, path, c.form.shared_expert)
    gate = c.facts.survey.gate if c.facts.survey else None
    if gate is None:
        return made
    weights = unary(tape, linear(tape, c, x, path, gate, c.facts.hidden, 1), "output")
    return mul(tape, weights, made)


def _activated(tape: Tape, c: Compute, x: Tensor) -> Tensor:
    if c.form.activation == "output":
        return unary(tape, x, "output")
    if c.form.activation == "kernel":
        return unary(tape, x, "input")
    if c.form.activation == "squared":
        made = unary(tape, x, "output")
        return power(tape, cast(tape, made, 4) if c.wide else made)
    half = scale(tape, x)
    cube = power(tape, cast(tape, x, 4) if c.wide else x)
    inside = scale(tape, add(tape, x, scale(tape, cube)))
    del cube
    return mul(tape, half, scale(tape, unary(tape, inside, "output")))


def decoder_layer(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """One whole layer; `path` is its number."""
    form, hidden = c.form, c.facts.hidden
    if form.parallel:
        return _side_by_side(tape, c, x, path)
    unread = form.after or form.bare
    read = x if unread else normed(tape, c, x, f"{path}.norm", hidden)
    x = _residual(tape, c, x, attention(tape, c, read, path), f"{path}.after_attention")
    if form.after:
        x = normed(tape, c, x, f"{path}.norm", hidden)
    read = x if unread else normed(tape, c, x, f"{path}.second_norm", hidden)
    x = _residual(tape, c, x, mlp(tape, c, read, path), f"{path}.after_mlp")
    return normed(tape, c, x, f"{path}.second_norm", hidden) if form.after else x


def _residual(tape: Tape, c: Compute, x: Tensor, made: Tensor, path: str) -> Tensor:
    if c.form.dropped:
        made = dropped(tape, c, made)
    if c.form.sandwich:
        made = normed(tape, c, made, path, c.facts.hidden)
    if c.form.scaled:
        made = scale(tape, made)
    return add(tape, x, made)


def _side_by_side(tape: Tape, c: Compute, x: Tensor, path: str) -> Tensor:
    """Attention and MLP read the same residual."""
    form, hidden = c.form, c.facts.hidden
    read = normed(tape, c, x, f"{path}.norm", hidden)
    mixed = attention(tape, c, read, path)
    if not form.one_norm:
        read = normed(tape, c, x, f"{path}.second_norm", hidden)
    thought = mlp(tape, c, read, path)
    del read
    return add(tape, add(tape, mixed, thought), x)
