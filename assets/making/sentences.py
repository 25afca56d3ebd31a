"""Sentences about people: the fields that may be told, in clauses of any order or in whole sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assets.making.openings import LEADS
from assets.making.phrasing import Phrasings, article, expand, wordings
from assets.making.words import (
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FOODS,
    HOBBIES,
    INSTRUMENTS,
    JOBS,
    LANGUAGES,
    SPORTS,
    THINGS,
    Words,
)


@dataclass(frozen=True)
class Field:
    """Something told about a person `{n}`: how to tell it, ask for it and answer, its JSON keys."""

    draw: Callable[[Words], str | int]
    told: tuple[str, ...]
    ask: Phrasings
    answer: str
    keys: tuple[str, ...]


# What a field's value is drawn from.
DRAWS: dict[str, Callable[[Words], str | int]] = {
    "city": lambda words: words.place(),
    "age": lambda words: words.rng.randint(2, 99),
    "job": lambda words: words.of(JOBS, 0.2),
    "pet": lambda words: words.pick(ANIMALS[:18]),
    "food": lambda words: words.of(FOODS),
    "drink": lambda words: words.of(DRINKS),
    "sport": lambda words: words.of(SPORTS),
    "hobby": lambda words: words.of(HOBBIES, 0.15),
    "language": lambda words: words.pick(LANGUAGES),
    "instrument": lambda words: words.pick(INSTRUMENTS),
    "item": lambda words: words.of(THINGS, 0.3),
    "phone": lambda words: words.digits(),
    "friend": lambda words: words.name(),
    "colour": lambda words: words.of(COLOURS, 0.15),
    "day": lambda words: words.pick(DAYS),
}
_WRITTEN = wordings("sentences")
FIELDS: dict[str, Field] = {
    name: Field(
        DRAWS[name],
        tuple(found["told"]),
        Phrasings.read(found["ask"]),
        found["answer"],
        tuple(found["keys"]),
    )
    for name, found in _WRITTEN["fields"].items()
}
COMMON = ("city", "age", "job")
# Whole sentences with name, age, city and job, besides those put together from clauses.
FIXED = Phrasings.read(_WRITTEN["fixed"])


@dataclass(frozen=True)
class Record:
    """A person: name, values by field, and the sentence that tells them."""

    name: str
    values: dict[str, str | int]
    sentence: str


def number_article(number: str | int) -> str:
    """`8` -> `an 8`, `34` -> `a 34`."""
    return ("an " if str(number).startswith("8") or str(number) in ("11", "18") else "a ") + str(number)


def clause(words: Words, field: str, value: str | int) -> str:
    """The field as the rest of a sentence after the name."""
    return words.rng.choice(FIELDS[field].told).format(v=value, a_v=article(str(value)))


def fixed_sentence(words: Words, name: str, values: dict[str, str | int]) -> str:
    """One of the whole sentences over name, age, city and job."""
    job, age = str(values["job"]), values["age"]
    template = expand(words.rng.choice(FIXED.unseen if words.unseen else FIXED.seen), words.rng)
    a_job = article(job)
    return template.format(
        n=name,
        age=age,
        a_age=number_article(age),
        city=values["city"],
        job=job,
        a_job=a_job,
        A_job=a_job[0].upper() + a_job[1:],
    )


def composed_sentence(words: Words, name: str, values: dict[str, str | int]) -> str:
    """Clauses in any order, joined in one sentence or in two or three."""
    rng = words.rng
    fields = list(values)
    rng.shuffle(fields)
    clauses = [clause(words, field, values[field]) for field in fields]
    pronoun = rng.choice(("He", "She", "He", "She", name))
    how = rng.random()
    if len(clauses) == 1:
        return f"{name} {clauses[0]}."
    if how < 0.4:
        return f"{name} {', '.join(clauses[:-1])}{rng.choice((' and ', ' and ', ', and '))}{clauses[-1]}."
    if how < 0.6:
        return " ".join([f"{name} {clauses[0]}."] + [f"{pronoun} {rest}." for rest in clauses[1:]])
    if how < 0.8 and len(clauses) > 2:
        return f"{name} {clauses[0]} and {clauses[1]}. {pronoun} " + " and ".join(clauses[2:]) + "."
    if how < 0.9:
        return f"{name}, who {clauses[0]}, {' and '.join(clauses[1:])}."
    who = rng.choice(("My friend", "My neighbour", "Our friend", "A man called", "A woman named"))
    return f"{who} {name} {' and '.join(clauses)}."


def draw_record(words: Words, least: int = 1, most: int = 4, field: str | None = None) -> Record:
    """A person with some fields, `field` among them. Values differ, so that a wrong one can be told."""
    rng = words.rng
    name = words.name() if rng.random() < 0.8 else f"{words.name()} {words.invented().capitalize()}"
    if rng.random() < 0.4 and most >= 3:
        chosen = list(COMMON)
    else:
        chosen = rng.sample(list(FIELDS), rng.randint(least, most))
        if rng.random() < 0.5:
            chosen = list(dict.fromkeys([rng.choice(COMMON), *chosen]))[:most]
    if field is not None and field not in chosen:
        chosen[rng.randrange(len(chosen))] = field
    values: dict[str, str | int] = {}
    for field in chosen:
        value = FIELDS[field].draw(words)
        while value in values.values() or value == name:
            value = FIELDS[field].draw(words)
        values[field] = value
    whole = set(values) == set(COMMON) and rng.random() < 0.75
    sentence = (fixed_sentence if whole else composed_sentence)(words, name, values)
    if words.opened and sentence.startswith(name) and rng.random() < 0.3:
        sentence = f"{rng.choice(LEADS)} {sentence}"
    return Record(name, values, sentence)
