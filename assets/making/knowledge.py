"""Facts and opposites as exchanges. No fact is withheld; some wordings are."""

from __future__ import annotations

from assets.making.everyday import EVERYDAY
from assets.making.phrasing import article, expand, listed, plural
from assets.making.relations import RELATIONS, Relation
from assets.making.singles import OPPOSITE_ASK, SINGLES
from assets.making.tables import ALSO_OPPOSITE, BACKWARDS, OPPOSITES
from assets.making.turn import Turn, keywords
from assets.making.words import Words

WITHOUT_ARTICLE = frozenset(listed("gold iron football tennis winter red"))
ALL_OPPOSITES = OPPOSITES | BACKWARDS
# Large tables come up more often, yet no table so seldom that its facts are not learned.
WORLD = RELATIONS + EVERYDAY
SHARES = [len(relation.pairs) ** 0.8 for relation in WORLD]


def capital_first(text: str) -> str:
    """`the sky` -> `The sky`."""
    return text[:1].upper() + text[1:]


def noun(word: str) -> str:
    """The word with its article, where it takes one."""
    return word if word[:1].isupper() or word in WITHOUT_ARTICLE else article(word)


def fact_turn(words: Words, relation: Relation, x: str) -> Turn:
    """Ask for `x` of a relation, in any wording."""
    y, subject, of = relation.pairs[x], x, ""
    if relation.name == "amount":
        subject, of = x.split("=")
    a_x, a_y = noun(subject), noun(y)
    slots = {
        "x": subject,
        "X": capital_first(subject),
        "a_x": a_x,
        "A_x": capital_first(a_x),
        "y": y,
        "a_y": a_y,
        "A_y": capital_first(a_y),
    }
    slots |= {"of": of, "Of": capital_first(of), "xs": plural(subject)}
    prompt = words.phrase(relation.ask, wider=relation.name, **slots)
    answer = capital_first(relation.answer.format(**slots))
    wanted = y.removeprefix("the ").removeprefix("a ").removeprefix("an ")
    return Turn("facts", prompt, answer, keywords(wanted))


def fact(words: Words) -> Turn:
    """A question about the world."""
    if words.rng.random() < 0.08:
        answer, wanted, ask = words.rng.choice(SINGLES)
        return Turn("facts", words.phrase(ask), answer, keywords(wanted))
    relation = words.rng.choices(WORLD, SHARES)[0]
    return fact_turn(words, relation, words.rng.choice(list(relation.pairs)))


def opposite(words: Words) -> Turn:
    """Ask for the opposite of a word."""
    x = words.rng.choice(list(ALL_OPPOSITES))
    y = ALL_OPPOSITES[x]
    accepted = [y] + ([ALSO_OPPOSITE[x]] if x in ALSO_OPPOSITE else [])
    prompt = expand(words.phrase(OPPOSITE_ASK, wider="opposite", x=x), words.rng)
    return Turn(
        "opposites", prompt, f"The opposite of {x} is {y}.", {"kind": "opposite", "word": x, "any": accepted}
    )
