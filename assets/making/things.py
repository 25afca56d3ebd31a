# ruff: noqa: E501  (a wording stays on one line)
"""Things and events told in the prompt: where they are, what they cost, when they are; with questions and as records."""

from __future__ import annotations

from assets.making.phrasing import Phrasings, article, listed
from assets.making.turn import Turn, keywords
from assets.making.words import COLOURS, DAYS, PLURALS, ROOMS, THINGS, Words

EVENTS = listed(
    "party|meeting|concert|lesson|dinner|wedding|game|match|show|course|market|talk|race|class|picnic|trip"
)
FRAMES = (
    "{s} {q}",
    "{s} {q}",
    "{s} {q}",
    "{s}\n{q}",
    "Text: {s} Question: {q}",
    "Text: {s}\nQuestion: {q}",
    "Read this: {s} {q}",
    "Here is a text: {s} {q}",
    "{q} {s}",
    "{q}\n{s}",
    "Context: {s}\n{q}",
    "Given this: {s} {q}",
    "I know this: {s} Now {q}",
)
UNSEEN_FRAMES = (
    "Somebody told me this: {s} {q}",
    "From this note, answer me. {s} {q}",
    "Listen. {s} So, {q}",
    "According to a letter, {s} {q}",
)
THING_ASKS: tuple[tuple[tuple[str, ...], tuple[str, ...], str, str], ...] = (
    # told, asked, answer, which of the slots is the value
    (
        (
            "The {t} is in the {r}.",
            "There is {a_t} in the {r}.",
            "I put the {t} in the {r}.",
            "You find the {t} in the {r}.",
        ),
        (
            "Where is the {t}?",
            "Where can I find the {t}?",
            "Tell me where the {t} is.",
            "In what place is the {t}?",
        ),
        "The {t} is in the {r}.",
        "r",
    ),
    (
        (
            "The {t} costs {k} dollars.",
            "The {t} is {k} dollars.",
            "The price of the {t} is {k} dollars.",
            "I paid {k} dollars for the {t}.",
        ),
        (
            "How much does the {t} cost?",
            "[What is|What's] the price of the {t}?",
            "How much is the {t}?",
            "What does the {t} cost?",
        ),
        "The {t} costs {k} dollars.",
        "k",
    ),
    (
        ("The {t} is {c}.", "I have a {c} {t}.", "The colour of the {t} is {c}."),
        (
            "[What|Which] [colour|color] is the {t}?",
            "[What is|What's] the [colour|color] of the {t}?",
            "[What|Which] [colour|color] does the {t} have?",
        ),
        "The {t} is {c}.",
        "c",
    ),
    (
        ("{n} has {k} {p}.", "{n} bought {k} {p}.", "{n} owns {k} {p}."),
        (
            "How many {p} does {n} have?",
            "How many {p} has {n}?",
            "Tell me how many {p} {n} has.",
            "{n} has how many {p}?",
        ),
        "{n} has {k} {p}.",
        "k",
    ),
    (
        (
            "The train to {city} leaves at {h}.",
            "The bus to {city} goes at {h}.",
            "The train for {city} leaves at {h}.",
        ),
        (
            "When does it leave?",
            "When does the [train|bus] to {city} [leave|go]?",
            "At what time does it leave?",
        ),
        "It leaves at {h}.",
        "h",
    ),
    (
        ("The {t} belongs to {n}.", "This is {n}'s {t}.", "{n} owns the {t}."),
        ("Whose {t} is it?", "Who owns the {t}?", "To whom does the {t} belong?"),
        "The {t} belongs to {n}.",
        "n",
    ),
)
# Keys, ways to tell, and for each key the ways to ask and the answer.
OBJECTS: tuple[tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[str, str]]], ...] = (
    (
        ("item", "colour", "price"),
        (
            "The {item} is {colour} and costs {price} dollars.",
            "I bought a {colour} {item} for {price} dollars.",
            "A {colour} {item} costs {price} dollars.",
            "For {price} dollars you get a {colour} {item}.",
            "The price of the {colour} {item} is {price} dollars.",
            "We sell a {colour} {item} for {price} dollars.",
        ),
        {
            "colour": ("[What|Which] [colour|color] is the {item}?", "The {item} is {colour}."),
            "price": (
                "[How much does the {item} cost|How much is the {item}|What does the {item} cost|What is the price]?",
                "The {item} costs {price} dollars.",
            ),
            "item": ("[What|Which thing] [costs {price} dollars|is {colour}]?", "It is the {item}."),
        },
    ),
    (
        ("event", "day", "time", "place"),
        (
            "The {event} is on {day} at {time} in {place}.",
            "On {day} at {time} there is a {event} in {place}.",
            "The {event} in {place} is on {day} at {time}.",
            "The {event} in {place} begins on {day} at {time}.",
            "Come to the {event} in {place} on {day} at {time}.",
            "There is a {event} in {place} on {day} at {time}.",
        ),
        {
            "day": (
                "[[What|Which] day is the {event}|On [what|which] day is the {event}|When is the {event}]?",
                "The {event} is on {day}.",
            ),
            "time": (
                "[At what time is the {event}|What time is the {event}|When does the {event} [begin|start]]?",
                "The {event} is at {time}.",
            ),
            "place": (
                "[Where is the {event}|In [which|what] [city|town|place] is the {event}|Where do I go for the {event}]?",
                "The {event} is in {place}.",
            ),
        },
    ),
    (
        ("name", "count", "item", "price"),
        (
            "{name} bought {count} {item} for {price} dollars.",
            "{name} paid {price} dollars for {count} {item}.",
            "{name} sold {count} {item} for {price} dollars.",
            "For {count} {item}, {name} paid {price} dollars.",
        ),
        {
            "name": ("[Who|Which person] [has|got|bought] the {item}?", "It was {name}."),
            "count": (
                "[How many {item} were there|How many {item} was it|How many {item}|What is the number of {item}]?",
                "There were {count} {item}.",
            ),
            "price": (
                "[How much were the {item}|How much did the {item} cost|What did the {item} cost|What was the price]?",
                "The {item} cost {price} dollars.",
            ),
        },
    ),
    (
        ("name", "from", "to"),
        (
            "{name} travels from {from} to {to}.",
            "{name} goes from {from} to {to}.",
            "{name} flew from {from} to {to}.",
            "{name} moved from {from} to {to}.",
            "From {from}, {name} went to {to}.",
        ),
        {
            "from": (
                "[Where does {name} come from|From where does {name} come|Where did {name} start]?",
                "{name} comes from {from}.",
            ),
            "to": (
                "[Where does {name} go|Where did {name} go|Where does {name} travel to|Where is {name} now]?",
                "{name} goes to {to}.",
            ),
        },
    ),
)


def framed(words: Words, sentence: str, asked: str) -> str:
    """Text and question together."""
    return words.rng.choice(UNSEEN_FRAMES if words.unseen else FRAMES).format(s=sentence, q=asked)


def about_things(words: Words) -> Turn:
    """Where a thing is, what it costs, its colour, whose it is; often with a second thing beside it."""
    rng = words.rng
    told, asked, answer, value = rng.choice(THING_ASKS)
    sentences, filled = [], []
    names = words.different("name", 2)
    places = words.different("place", 2)
    for position in range(rng.choice((1, 2) if words.heldout else (1, 2, 2, 2))):
        slots = {
            "t": words.pick(THINGS[position::2]) if rng.random() < 0.8 else words.invented(),
            "r": words.pick(ROOMS[position::2]) if rng.random() < 0.7 else words.invented(),
            "c": words.pick(COLOURS[position::2]),
            "k": str(rng.randint(2, 60) + 60 * position),
            "h": f"{rng.randint(1, 12)}:{rng.choice(('00', '15', '30', '45'))}",
            "p": words.pick(PLURALS[position::2]),
            "n": names[position],
            "city": places[position],
        }
        slots["a_t"] = article(slots["t"])
        filled.append(slots)
        sentences.append(rng.choice(told).format(**slots))
    chosen = rng.choice(filled)
    others = tuple(slots[value] for slots in filled if slots is not chosen and slots[value] != chosen[value])
    if len(filled) == 2 and value in "hn":
        sentences = [sentences[filled.index(chosen)]]
    prompt = framed(words, " ".join(sentences), words.phrase(Phrasings(asked, asked), **chosen))
    return Turn("extraction", prompt, answer.format(**chosen), keywords(chosen[value], none=others))


def draw_object(words: Words, chosen: int | None = None) -> tuple[dict[str, str | int], str]:
    """The values of a thing, an event, a purchase or a journey, and the sentence that tells them."""
    rng = words.rng
    keys, told, _ = OBJECTS[rng.randrange(len(OBJECTS)) if chosen is None else chosen]
    places = words.different("place", 3)
    drawn: dict[str, str | int] = {
        "item": words.pick(PLURALS) if "count" in keys else words.of(THINGS, 0.3),
        "colour": words.pick(COLOURS),
        "price": rng.randint(2, 400),
        "event": words.pick(EVENTS),
        "day": words.pick(DAYS),
        "time": f"{rng.randint(1, 23)}:{rng.choice(('00', '15', '30', '45'))}",
        "place": places[0],
        "name": words.name(),
        "count": rng.randint(2, 60),
        "from": places[1],
        "to": places[2],
    }
    values = {key: drawn[key] for key in keys}
    return values, rng.choice(told).format(**values)


def about_object(words: Words) -> Turn:
    """A question about one value of a thing, an event, a purchase or a journey."""
    kind = words.rng.randrange(len(OBJECTS))
    values, sentence = draw_object(words, kind)
    key = words.rng.choice(list(OBJECTS[kind][2]))
    ask, answer = OBJECTS[kind][2][key]
    said = answer.format(**values)
    prompt = framed(words, sentence, words.phrase(Phrasings((ask,), (ask,)), **values))
    others = tuple(str(value) for value in values.values() if str(value) not in said)
    return Turn("extraction", prompt, said, keywords(str(values[key]), none=others))
