"""The torch of sizes, against what torch keeps and frees, counted by hand."""

from __future__ import annotations

from studio.memory.operations import add, checkpointed, mul, part_of, power, split, unary
from studio.memory.tape import Tape, Tensor

N = 1000


def trained(tape: Tape, n: int = N, item: int = 4) -> Tensor:
    """A tensor that trains, which lives elsewhere."""
    return Tensor(n, item, None, tape.leaf(item))


def product(tape: Tape, x: Tensor, weight: Tensor, n: int) -> Tensor:
    """x times a weight: each is kept for the other's gradient."""
    size, wide = x.n, weight.n
    wanted = x.node is not None

    def back(g: Tensor) -> tuple[Tensor | None, Tensor]:
        del g
        return tape.new(size, 4) if wanted else None, tape.new(wide, 4)

    return tape.result(tape.new(n, 4), (x, weight), x.storage, back)


def parts(tape: Tape) -> dict[str, int]:
    from studio.memory.tape import PARTS

    return {name: size for name, size in zip(PARTS, tape.live, strict=True) if size}


def test_a_product_keeps_its_input_and_an_activation_its_own():
    tape = Tape()
    weight = trained(tape, 10 * N)
    out = unary(tape, product(tape, tape.new(N, 4), weight, 2 * N), "input")
    # Its input, the product that the activation keeps, and the activation's result.
    assert parts(tape) == {"activations": 4 * (N + 2 * N + 2 * N)}
    tape.backward(out, tape.new(out.n, 4))
    out.storage = None
    assert parts(tape) == {"gradients": 4 * 10 * N}


def test_nothing_is_kept_where_nothing_trains():
    tape = Tape()
    out = unary(tape, mul(tape, tape.new(N, 4), Tensor(1, 4, None)), "input")
    assert out.node is None
    assert tape.total == 4 * N


def test_both_inputs_of_an_addition_share_its_gradient():
    tape = Tape()
    x = trained(tape)
    left, right = unary(tape, x, "nothing"), unary(tape, x, "nothing")
    out = add(tape, left, right)
    del left, right
    assert tape.total == 4 * N
    out.storage = None
    with tape.at("backward"):
        tape.backward(out, tape.new(N, 4))
    # The shared gradient, one of x from each side, added up in the place of the first; nothing more.
    assert sum(tape.peaks["backward"]) == 4 * 3 * N
    assert parts(tape) == {"gradients": 4 * N}


def test_a_second_gradient_is_added_to_the_first():
    tape = Tape()
    x = trained(tape)
    for _ in range(2):
        out = unary(tape, x, "nothing")
        tape.backward(out, tape.new(N, 4))
        out.storage = None
    assert parts(tape) == {"gradients": 4 * N}


def test_a_gradient_takes_its_weights_format():
    tape = Tape()
    weight = Tensor(N, 2, None, tape.leaf(4))
    out = unary(tape, weight, "nothing")
    tape.backward(out, tape.new(N, 2))
    out.storage = None
    assert parts(tape) == {"gradients": 4 * N}


def block(tape: Tape, x: Tensor) -> Tensor:
    """Three activations in a row, each of which keeps its input."""
    for _ in range(3):
        x = unary(tape, x, "input")
    return x


def test_a_checkpoint_keeps_its_input_and_runs_again():
    tape = Tape()
    weight = trained(tape)
    start = unary(tape, weight, "nothing")
    out = checkpointed(tape, lambda x: block(tape, x), start, trains=True)
    del start
    assert tape.total == 4 * 2 * N  # its input and its result
    out.storage = None
    with tape.at("backward"):
        tape.backward(out, tape.new(N, 4))
    # The gradient, the input, what the first two activations made again, and the third one's gradient or
    # result, of which one is gone before the other comes.
    assert sum(tape.peaks["backward"]) == 4 * 5 * N
    assert tape.total == 4 * N


def test_a_checkpoint_runs_again_when_something_kept_is_needed_and_no_further():
    """What comes after the last operation that keeps something is not made again, and has its gradient before
    the rest is."""
    tape = Tape()
    weight = trained(tape)
    start = unary(tape, weight, "nothing")

    def run(x: Tensor) -> Tensor:
        with tape.at("again"):
            return unary(tape, unary(tape, unary(tape, x, "input"), "nothing", n=3 * N), "nothing", n=5 * N)

    out = checkpointed(tape, run, start, trains=True)
    del start
    out.storage = None
    tape.peaks.clear()
    tape.backward(out, tape.new(5 * N, 4))
    # The input, the gradient of the result, that before it, and of what is run again the first one's result.
    assert sum(tape.peaks["again"]) == 4 * (1 + 5 + 1 + 1) * N
    assert parts(tape) == {"gradients": 4 * N}


def test_without_a_checkpoint_everything_is_kept():
    tape = Tape()
    out = block(tape, unary(tape, trained(tape), "nothing"))
    assert tape.total == 4 * 4 * N
    del out
    assert tape.total == 0


def test_gradients_of_parts_are_put_together_once():
    tape = Tape()
    left, right = split(tape, unary(tape, trained(tape, 2 * N), "nothing"), 2)
    out = add(tape, unary(tape, left, "nothing"), unary(tape, right, "nothing"))
    del left, right
    out.storage = None
    with tape.at("backward"):
        tape.backward(out, tape.new(N, 4))
    # The two halves' own gradients and the whole's: the shared one before them is gone by then.
    assert sum(tape.peaks["backward"]) == 4 * (2 * N + 2 * N)


def test_the_gradient_of_a_slice_is_one_of_the_whole():
    tape = Tape()
    weight = trained(tape, 5 * N)
    out = part_of(tape, unary(tape, weight, "nothing"), N)
    out.storage = None
    tape.backward(out, tape.new(N, 4))
    assert parts(tape) == {"gradients": 4 * 5 * N}


def test_the_gradient_of_a_power_takes_three_tensors_at_once():
    tape = Tape()
    out = power(tape, trained(tape))
    gradient = tape.new(N, 4)
    with tape.at("backward"):
        tape.backward(out, gradient)
    assert sum(tape.peaks["backward"]) == 4 * (2 + 3) * N  # beside its result and the gradient
