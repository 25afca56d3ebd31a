# ruff: noqa: E501  (a wording stays on one line)
"""Sentences about people: the fields that may be told, in clauses of any order or in whole sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assets.making.openings import LEADS
from assets.making.phrasing import Phrasings, article, expand
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
    """Something told about a person `{n}`: how to tell it, how to ask for it, the answer, its names as a JSON key."""

    draw: Callable[[Words], str | int]
    told: tuple[str, ...]
    ask: Phrasings
    answer: str
    keys: tuple[str, ...]


FIELDS: dict[str, Field] = {
    "city": Field(
        lambda words: words.place(),
        ("lives in {v}", "is from {v}", "comes from {v}", "has a house in {v}", "lives in the city of {v}"),
        Phrasings(
            (
                "Where does {n} live?",
                "Where is {n} from?",
                "[Which|What] [city|town] does {n} live in?",
                "In [which|what] [city|town] does {n} live?",
                "Where does {n} come from?",
                "[What is|What's] {n}'s [city|town|home]?",
                "Tell me where {n} lives.",
                "[Which|What] [city|town] is {n} from?",
                "Do you know where {n} lives?",
                "Where is {n}'s home?",
                "{n} lives where?",
            ),
            ("In which place does {n} live?", "Where can one find {n}'s house?", "What town is home to {n}?"),
        ),
        "{n} lives in {v}.",
        ("city", "city", "city", "town", "place", "home", "location"),
    ),
    "age": Field(
        lambda words: words.rng.randint(2, 99),
        (
            "is {v} years old",
            "is {v} years old",
            "is {v}",
            "is aged {v}",
            "is {v} years of age",
            "turned {v}",
        ),
        Phrasings(
            (
                "How old is {n}?",
                "[What is|What's] {n}'s age?",
                "[What is|What's] the age of {n}?",
                "Tell me [{n}'s age|how old {n} is|the age of {n}].",
                "{n} is how old?",
                "Do you know how old {n} is?",
                "How many years old is {n}?",
            ),
            ("What age is {n}?", "How many years has {n} lived?", "Say how old {n} is."),
        ),
        "{n} is {v} years old.",
        ("age", "age", "age", "years"),
    ),
    "job": Field(
        lambda words: words.of(JOBS, 0.2),
        ("works as {a_v}", "is {a_v}", "is {a_v} by trade", "earns money as {a_v}", "has a job as {a_v}"),
        Phrasings(
            (
                "What does {n} do[ for a living|]?",
                "[What is|What's] {n}'s [job|profession|work]?",
                "[What is|What's] the [job|profession] of {n}?",
                "Tell me {n}'s job.",
                "[Which|What] job does {n} have?",
                "What does {n} work as?",
                "What is {n}?",
                "Do you know {n}'s job?",
            ),
            ("How does {n} make a living?", "What kind of work is {n} doing?", "As what does {n} work?"),
        ),
        "{n} is {a_v}.",
        ("job", "job", "job", "profession", "work", "occupation"),
    ),
    "pet": Field(
        lambda words: words.pick(ANIMALS[:18]),
        ("has {a_v}", "owns {a_v}", "keeps {a_v}", "has {a_v} as a pet"),
        Phrasings(
            (
                "[What|Which] [pet|animal] does {n} [have|own|keep]?",
                "[What is|What's] {n}'s pet?",
                "Tell me {n}'s pet.",
                "[What|Which] animal lives with {n}?",
            ),
            ("What sort of pet does {n} own?", "Name the animal that {n} has."),
        ),
        "{n} has {a_v}.",
        ("pet", "pet", "animal"),
    ),
    "food": Field(
        lambda words: words.of(FOODS),
        ("likes {v}", "loves {v}", "likes to eat {v}", "eats {v}", "enjoys {v}"),
        Phrasings(
            (
                "What does {n} [like|love|eat|like to eat|enjoy]?",
                "[What is|What's] {n}'s [favourite |favorite |]food?",
                "[Which|What] food does {n} [like|eat]?",
                "Tell me what {n} likes.",
            ),
            ("What would {n} like on the plate?", "Which food is {n} fond of?"),
        ),
        "{n} likes {v}.",
        ("food", "food", "favourite_food", "likes", "dish"),
    ),
    "drink": Field(
        lambda words: words.of(DRINKS),
        ("drinks {v}", "likes to drink {v}", "always drinks {v}"),
        Phrasings(
            (
                "What does {n} [drink|like to drink]?",
                "[What is|What's] {n}'s drink?",
                "[Which|What] drink does {n} like?",
            ),
            ("What is in {n}'s cup?", "What would {n} like to drink?"),
        ),
        "{n} drinks {v}.",
        ("drink", "drink", "beverage"),
    ),
    "sport": Field(
        lambda words: words.of(SPORTS),
        ("plays {v}", "likes to play {v}", "plays {v} well", "often plays {v}"),
        Phrasings(
            (
                "[What|Which] [sport|game] does {n} play?",
                "What does {n} [like to |]play?",
                "[What is|What's] {n}'s [sport|game]?",
                "Tell me the [sport|game] of {n}.",
            ),
            ("What game is {n} playing?", "At which sport is {n} good?"),
        ),
        "{n} plays {v}.",
        ("sport", "sport", "game"),
    ),
    "hobby": Field(
        lambda words: words.of(HOBBIES, 0.15),
        ("enjoys {v}", "is fond of {v}", "likes {v}", "has {v} as a hobby"),
        Phrasings(
            (
                "[What is|What's] {n}'s hobby?",
                "What does {n} enjoy?",
                "[What|Which] hobby does {n} have?",
                "Tell me {n}'s hobby.",
            ),
            ("How does {n} spend free time?", "What is {n} fond of?"),
        ),
        "{n} likes {v}.",
        ("hobby", "hobby", "interest"),
    ),
    "language": Field(
        lambda words: words.pick(LANGUAGES),
        ("speaks {v}", "can speak {v}", "learns {v}"),
        Phrasings(
            (
                "[What|Which] language does {n} [speak|learn]?",
                "What does {n} speak?",
                "[What is|What's] {n}'s language?",
            ),
            ("In what language can one talk to {n}?", "Name the language of {n}."),
        ),
        "{n} speaks {v}.",
        ("language", "language", "speaks"),
    ),
    "instrument": Field(
        lambda words: words.pick(INSTRUMENTS),
        ("plays the {v}", "can play the {v}", "learns the {v}"),
        Phrasings(
            ("[What|Which] instrument does {n} play?", "[What is|What's] {n}'s instrument?"),
            ("On what instrument does {n} make music?",),
        ),
        "{n} plays the {v}.",
        ("instrument",),
    ),
    "item": Field(
        lambda words: words.of(THINGS, 0.3),
        ("bought {a_v}", "buys {a_v}", "found {a_v}", "wants {a_v}", "sold {a_v}", "ordered {a_v}"),
        Phrasings(
            (
                "What did {n} [buy|find|sell|order|want|get]?",
                "What does {n} [buy|want|have|get]?",
                "[Which|What] thing did {n} [buy|find|get]?",
            ),
            ("What thing was it that {n} got?",),
        ),
        "It was {a_v}.",
        ("item", "item", "thing", "product", "object"),
    ),
    "phone": Field(
        lambda words: words.digits(),
        ("has the phone number {v}", "has the number {v}", "can be called at {v}"),
        Phrasings(
            (
                "[What is|What's] {n}'s [phone |]number?",
                "[What is|What's] the [phone |]number of {n}?",
                "How can I call {n}?",
            ),
            ("Which number must I dial to reach {n}?",),
        ),
        "{n}'s number is {v}.",
        ("phone", "phone", "number", "phone_number"),
    ),
    "friend": Field(
        lambda words: words.name(),
        ("has a friend called {v}", "is a friend of {v}", "is married to {v}", "has a dog called {v}"),
        Phrasings(
            (
                "[What is|What's] the name of {n}'s [friend|dog]?",
                "Who is {n}'s friend?",
                "Whom does {n} know?",
            ),
            ("Who is close to {n}?",),
        ),
        "It is {v}.",
        ("friend", "partner"),
    ),
    "colour": Field(
        lambda words: words.of(COLOURS, 0.15),
        ("has a {v} car", "drives a {v} car", "owns a {v} car", "bought a {v} car"),
        Phrasings(
            (
                "[What|Which] [colour|color] is {n}'s car?",
                "[What|Which] car does {n} [have|drive|own]?",
                "[What is|What's] the [colour|color] of {n}'s car?",
            ),
            ("Say the colour of the car that {n} drives.",),
        ),
        "{n} has a {v} car.",
        ("colour", "colour", "color"),
    ),
    "day": Field(
        lambda words: words.pick(DAYS),
        ("comes on {v}", "arrives on {v}", "leaves on {v}", "works on {v}"),
        Phrasings(
            (
                "When does {n} [come|arrive|leave|work]?",
                "[What|Which] day does {n} [come|arrive|leave|work]?",
                "On [what|which] day does {n} come?",
            ),
            ("Which day must I note for {n}?",),
        ),
        "It is on {v}.",
        ("day", "day", "date"),
    ),
}
COMMON = ("city", "age", "job")
# Whole sentences with name, age, city and job, besides those put together from clauses.
FIXED = Phrasings(
    (
        "{n} is {a_age}-year-old {job} from {city}.",
        "{n} is {a_age} year old {job} from {city}.",
        "{n}, {age}, is {a_job} [in|from] {city}.",
        "{n}, {age}, lives in {city} and works as {a_job}.",
        "{n} ({age}) is {a_job} [in|from] {city}.",
        "{n} ({age}) lives in {city} and works as {a_job}.",
        "At {age}, {n} works as {a_job} in {city}.",
        "The {job} {n} from {city} is {age}[ years old|].",
        "The {job} {n} is {age}[ years old|] and lives in {city}.",
        "[Meet|This is] {n}, {a_age}-year-old {job} from {city}.",
        "[Meet|This is] {n}, {a_job} from {city}, {age} years old.",
        "[Meet|This is] {n}, {age}, {a_job} in {city}.",
        "In {city} lives {a_job} called {n}, aged {age}.",
        "In {city} there is {a_job} named {n} who is {age}[ years old|].",
        "{n} from {city} is {a_job} and is {age}[ years old|].",
        "{n} from {city} is {age}[ years old|] and works as {a_job}.",
        "{n} works in {city} as {a_job} and is {age}[ years old|].",
        "{n} is {a_job}, lives in {city} and is {age}[ years old|].",
        "{n} is {age}, lives in {city}, and works as {a_job}.",
        "My [friend|neighbour|cousin|uncle] {n} is {a_job} in {city} and is {age}.",
        "My [friend|neighbour|cousin|aunt] {n}, {age}, is {a_job} from {city}.",
        "{A_job} from {city}, {n} is {age} years old.",
        "{A_job} of {age} years, {n} lives in {city}.",
        "[Hi|Hello], I am {n}, {age} years old, {a_job} from {city}.",
        "My name is {n}, I am {age} and I work as {a_job} in {city}.",
        "I am {n}. I am {age} years old, live in {city} and work as {a_job}.",
        "Name: {n}. Age: {age}. City: {city}. Job: {job}.",
        "{n} - {age} - {city} - {job}",
        "{n}, {age}, {job}, {city}",
        "{n} was born in {city} {age} years ago and is {a_job} now.",
        "Aged {age}, {n} of {city} is {a_job}.",
        "{n} is {a_job}. [He|She] is {age}[ years old|]. [He|She] lives in {city}.",
        "[Mr|Mrs|Miss] {n} of {city}, {a_job}, is {age}[ years old|].",
        "{city} is the home of {n}, {a_age}-year-old {job}.",
        "Our {job} {n} turned {age} and lives in {city}.",
    ),
    (
        "Have you met {n}? {n} is {a_job} of {age} who lives in {city}.",
        "A {age} year old from {city}, {n} earns a living as {a_job}.",
        "{n} has lived in {city} for all of {age} years and is {a_job} there.",
        "We hired {n}, {age}, from {city}, as {a_job}.",
        "At the age of {age}, {n} moved to {city} to be {a_job}.",
    ),
)


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
    return f"{rng.choice(('My friend', 'My neighbour', 'Our friend', 'A man called', 'A woman named'))} {name} {' and '.join(clauses)}."


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
