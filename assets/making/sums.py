# ruff: noqa: E501  (a wording stays on one line)
"""Small sums. A fifth of the pairs is withheld: such a pair occurs nowhere in the generated text, in neither order."""

from __future__ import annotations

from assets.making.phrasing import Phrasings
from assets.making.turn import Turn, keywords
from assets.making.words import NUMBER_WORDS, PLURALS, Words, withheld

ADD = Phrasings(
    (
        "[What is|What's] {a} + {b}?",
        "[What is|What's] {a} plus {b}?",
        "[What is|What's] {a} and {b}?",
        "[What is|What's] the sum of {a} and {b}?",
        "[What is|What's] {a}+{b}?",
        "How much is {a} [+|plus|and] {b}?",
        "[What does|What do] {a} [+|plus|and] {b} make?",
        "What is {b} added to {a}?",
        "What do you get [if|when] you add {a} and {b}?",
        "{a} [+|plus|and] {b} is [what|how much]?",
        "{a} [+|plus] {b}[?| =|= ?| = ?|]",
        "{a}+{b}[?|=|=?|]",
        "Add {a} and {b}.",
        "Add {a} to {b}.",
        "Add {b} to {a}.",
        "Add the numbers {a} and {b}.",
        "Add up {a} and {b}.",
        "Calculate {a} [+|plus] {b}.",
        "Compute {a} [+|plus] {b}.",
        "Solve {a} [+|plus] {b}.",
        "Solve: {a} + {b}",
        "Tell me {a} [+|plus] {b}.",
        "Tell me the sum of {a} and {b}.",
        "Give me the sum of {a} and {b}.",
        "Find the sum of {a} and {b}.",
        "[Can you tell me|Do you know] [what {a} [+|plus] {b} is|the sum of {a} and {b}]?",
        "The sum of {a} and {b} is [what|how much]?",
        "How many are {a} [+|plus|and] {b}?",
        "What is the result of {a} [+|plus] {b}?",
        "What does {a} [+|plus] {b} equal?",
        "{a} [+|plus] {b} equals [what|]?",
        "I have {a} {things} and get {b} more. How many {things} do I have[ now|]?",
        "I have {a} {things} and [buy|find] {b} more. How many [{things} |]do I have[ now|]?",
        "There are {a} {things} and {b} more come. How many are there[ now|]?",
        "{name} has {a} {things} and [buys|gets|finds] {b} more. How many {things} does {name} have[ now|]?",
        "{name} has {a} {things}. {name} [buys|gets|finds] {b} more. How many [{things} |]does {name} have[ now|]?",
        "I had {a} {things}. I got {b} more. How many [{things} |]do I have?",
    ),
    (
        "If I add {b} to {a}, what do I get?",
        "Please work out {a} + {b} for me.",
        "What would {a} plus {b} be?",
        "What is the total of {a} and {b}?",
        "Put {a} and {b} together: how much is it?",
        "{name} had {a} {things} and was given {b} more. How many are there in all?",
        "my homework says {a} + {b}",
    ),
)
SUBTRACT = Phrasings(
    (
        "[What is|What's] {a} - {b}?",
        "[What is|What's] {a} minus {b}?",
        "[What is|What's] {a}-{b}?",
        "[What is|What's] {a} take away {b}?",
        "[What is|What's] {a} less {b}?",
        "How much is {a} [-|minus] {b}?",
        "What does {a} [-|minus] {b} make?",
        "What do you get [if|when] you take {b} from {a}?",
        "{a} [-|minus] {b} is [what|how much]?",
        "{a} [-|minus] {b}[?| =|= ?| = ?|]",
        "{a}-{b}[?|=|=?|]",
        "Subtract {b} from {a}.",
        "Take {b} [away |]from {a}.",
        "Calculate {a} [-|minus] {b}.",
        "Compute {a} [-|minus] {b}.",
        "Solve {a} [-|minus] {b}.",
        "Solve: {a} - {b}",
        "Tell me {a} [-|minus] {b}.",
        "[Can you tell me|Do you know] what {a} [-|minus] {b} is?",
        "[What is|What's] the difference between {a} and {b}?",
        "What is the result of {a} [-|minus] {b}?",
        "What does {a} [-|minus] {b} equal?",
        "{a} [-|minus] {b} equals [what|]?",
        "What is left [if|when] you take {b} from {a}?",
        "I have {a} {things} and lose {b}. How many [{things} |][do I have|are left][ now|]?",
        "I have {a} {things} and give away {b}. How many [{things} |]do I have[ now| left|]?",
        "There are {a} {things} and {b} go away. How many are [left|there]?",
        "{name} has {a} {things} and [loses|sells|gives away] {b}. How many {things} [are left|does {name} have]?",
        "{name} has {a} {things}. {name} [loses|sells|gives away] {b}. How many [{things} |][are left|does {name} have now]?",
        "I had {a} {things}. I lost {b}. How many are left?",
    ),
    (
        "If I take {b} away from {a}, what do I get?",
        "Please work out {a} - {b} for me.",
        "What would {a} minus {b} be?",
        "What remains of {a} after taking {b}?",
        "{name} had {a} {things} and lost {b} of them. How many remain?",
        "my homework says {a} - {b}",
    ),
)
NEXT = Phrasings(
    (
        "[What|Which] number [comes|is] after {a}?",
        "What comes after {a}?",
        "What is the next number after {a}?",
        "Tell me the number after {a}.",
        "[What|Which] number follows {a}?",
    ),
    ("Which number is one more than {a}?", "If I count on from {a}, which number is next?"),
)
BIGGER = Phrasings(
    (
        "[Which|What] is [bigger|larger|more|greater], {a} or {b}?",
        "[Which|What] number is [bigger|larger|greater], {a} or {b}?",
        "[Which|What] number is [bigger|larger|greater]: {a} or {b}?",
        "Is {a} or {b} [bigger|larger|greater|more]?",
        "Tell me [which is|the] [bigger|larger][ number|]: {a} or {b}?",
    ),
    ("Of the numbers {a} and {b}, which one is larger?", "{a} and {b}: which is the bigger one?"),
)
COUNT = Phrasings(
    (
        "Count from {a} to {b}.",
        "Count [up |]from {a} [up |]to {b}.",
        "Can you count from {a} to {b}?",
        "Say the numbers from {a} to {b}.",
        "Write the numbers from {a} to {b}.",
        "List the numbers from {a} to {b}.",
    ),
    ("Start at {a} and count to {b}.", "I want to hear the numbers from {a} to {b}."),
)


def pair(words: Words) -> tuple[int, int]:
    """Two addends, in any order: mostly up to 20, else with a sum below 100; withheld or not as `words` says."""
    rng = words.rng
    while True:
        if words.heldout or rng.random() < 0.7:
            a, b = rng.randint(0, 20), rng.randint(0, 20)
        else:
            a = rng.randint(0, 99)
            b = rng.randint(0, 99 - a)
        if withheld(f"{min(a, b)} + {max(a, b)}", one_in=5) == words.heldout:
            return a, b


def written(number: int, as_word: bool) -> str:
    """The number in digits or, up to twenty, as a word."""
    return NUMBER_WORDS[number] if as_word and number <= 20 else str(number)


def asked(words: Words, phrasings: Phrasings, wider: str, a: int, b: int) -> str:
    """A question over two numbers: in digits or in words, bare or about things that someone has."""
    as_word = words.rng.random() < 0.15
    return words.phrase(
        phrasings,
        wider=wider,
        a=written(a, as_word),
        b=written(b, as_word),
        things=words.pick(PLURALS),
        name=words.name(),
    )


def addition(words: Words) -> Turn:
    """a + b. The answer first says the sum in digits, so that all phrasings lead to the same calculation."""
    a, b = pair(words)
    prompt = asked(words, ADD, "add", a, b)
    return Turn("sums", prompt, f"{a} + {b} = {a + b}.", {"kind": "sum", "value": a + b})


def subtraction(words: Words) -> Turn:
    """a - b with a result of 0 or more; b and the result are a pair of `pair`, so its withheld ones are withheld here too."""
    b, rest = pair(words)
    a = b + rest
    prompt = asked(words, SUBTRACT, "subtract", a, b)
    return Turn("sums", prompt, f"{a} - {b} = {rest}.", {"kind": "sum", "value": rest})


def numbers(words: Words) -> Turn:
    """Counting, the next number, the bigger of two: what the sums rest on."""
    kind = words.rng.random()
    a = words.rng.randint(0, 98)
    if kind < 0.3:
        return Turn(
            "numbers",
            words.phrase(NEXT, wider="next", a=a),
            f"After {a} comes {a + 1}.",
            keywords(str(a + 1)),
        )
    if kind < 0.6:
        b = words.rng.choice([other for other in range(100) if other != a])
        bigger, smaller = max(a, b), min(a, b)
        return Turn(
            "numbers",
            words.phrase(BIGGER, wider="bigger", a=a, b=b),
            f"{bigger} is bigger than {smaller}.",
            {"kind": "bigger", "value": bigger},
        )
    a = words.rng.randint(0, 20) if kind < 0.9 else a
    b = a + words.rng.randint(2, 9)
    counted = ", ".join(map(str, range(a, b + 1)))
    return Turn(
        "numbers",
        words.phrase(COUNT, wider="count", a=a, b=b),
        f"{counted}.",
        {"kind": "count", "values": list(range(a, b + 1))},
    )


def sums(words: Words) -> Turn:
    """Addition or subtraction."""
    return addition(words) if words.rng.random() < 0.5 else subtraction(words)
