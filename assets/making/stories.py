"""Short stories about whatever the prompt names: four sentences, put together from a few plots."""

from __future__ import annotations

from assets.making.phrasing import Phrasings, article, expand, listed
from assets.making.turn import Turn
from assets.making.words import ANIMALS, KINDS, PLACES, THINGS, Words

ASK = Phrasings(
    (
        "Tell me a [short |little |]story about {topic}.",
        "Tell a [short |]story about {topic}.",
        "Write a [short |little |]story about {topic}.",
        "Write me a [short |]story about {topic}.",
        "Give me a [short |]story about {topic}.",
        "Make up a [short |]story about {topic}.",
        "Create a [short |]story about {topic}.",
        "[I want|I would like|I'd like] [to hear |]a [short |]story about {topic}.",
        "A [short |]story about {topic}[, please.|.|]",
        "[Can|Could] you tell me a [short |]story about {topic}?",
        "Do you know a [short |]story about {topic}?",
        "Story about {topic}[, please.|.|]",
        "Tell me something about {topic} in a [short |]story.",
        "Tell me a [bedtime|nice|funny|sweet|tiny] story about {topic}.",
        "Write a [bedtime|nice|funny|sweet|tiny] story about {topic}.",
        "Tell [us|the children] a [short |]story about {topic}.",
        "Tell me a tale about {topic}.",
        "Tell me the story of {topic}.",
    ),
    (
        "Please invent a story with {topic} in it.",
        "My children want a story about {topic}.",
        "Once upon a time... go on with {topic}.",
        "Have you got a story about {topic}?",
        "Let me hear a little tale about {topic}.",
        "Entertain me with a story about {topic}.",
    ),
)
ASK_ANY = Phrasings(
    (
        "Tell me a [short |little |]story.",
        "Write a [short |]story.",
        "[I want|I would like|I'd like] [to hear |]a [short |]story.",
        "Tell me [another|one more|a new] story.",
        "[Can|Could] you tell me a [short |]story?",
        "Do you know a story?",
        "A story[, please.|.|]",
        "Make up a story.",
    ),
    ("Have you got a story for me?", "I am in the mood for a story.", "It is time for a story."),
)
WANTS = (
    "wanted to fly",
    "wanted to find a friend",
    "wanted to see the sea",
    "was looking for gold",
    "wanted to learn to swim",
    "wanted to sing",
    "was always hungry",
    "wanted to travel",
    "was afraid of the dark",
    "wanted to bake a cake",
    "could not sleep",
    "wanted to build a house",
)
TURNS = (
    'One day {he} met an old owl, and the owl said: "Be brave."',
    "One day {he} found a small box under a tree.",
    "One morning {he} walked to the {place} and looked around.",
    "One day it rained very hard, and {he} got wet.",
    "One night {he} saw a bright light in the sky.",
    "One day {he} got lost in the {place}.",
)
ENDS = (
    "In the end {he} was happy and went home.",
    "After that {he} was never sad again.",
    "Then {he} went home and slept well.",
    "From that day on {he} had many friends.",
    "And {he} lived happily ever after.",
)
WITH_THING = (
    "One day {he} found {a_thing} and took it home.",
    "One day {he} lost {a_thing} and looked for it everywhere.",
    "One day a friend gave {him} {a_thing}.",
)
TOGETHER = (
    "One day they walked to the {place} together.",
    "One day they found a small box under a tree.",
    "They played together every day in the {place}.",
    "One day it rained very hard, and they got wet.",
)
TOGETHER_ENDS = (
    "In the end they were happy and went home.",
    "After that they were friends for ever.",
    "And they lived happily ever after.",
)
SHE = frozenset(listed("girl queen princess fairy witch mermaid woman hen cow"))
HE = frozenset(listed("boy king wizard prince knight giant man dwarf"))
FIRST = ("Once upon a time there was", "Once there was", "Long ago there was")


def hero(words: Words) -> str:
    """A kind of hero: an animal, a person, or something made up."""
    draw = words.rng.random()
    kind = words.pick(ANIMALS) if draw < 0.5 else words.pick(KINDS) if draw < 0.9 else words.invented()
    adjective = words.rng.choice(
        ("", "", "", "little ", "young ", "old ", "brave ", "lonely ", "clever ", "lazy ", "happy ")
    )
    return adjective + kind


def named_hero(words: Words) -> tuple[str, str, list[str]]:
    """Topic, opening sentence, and the words that the story must contain."""
    kind, name, place = hero(words), words.name(), words.pick(PLACES)
    first = words.rng.choice(FIRST)
    draw = words.rng.random()
    if draw < 0.35:
        topic = article(kind) + words.rng.choice((" named ", " called ", " with the name ")) + name
        return topic, f"{first} {article(kind)} named {name}.", [*kind.split(), name]
    if draw < 0.55:
        return name, f"Once upon a time there was a child named {name}.", [name]
    if draw < 0.7:
        topic = name + words.rng.choice((", ", " the ", " and is ", ", who is "))
        if topic.endswith(" and is "):
            topic = name + " the "
        topic += kind if topic.endswith(" the ") else article(kind)
        return topic, f"{first} {article(kind)} named {name}.", [*kind.split(), name]
    if draw < 0.85:
        topic = article(kind) + words.rng.choice((" in the ", " in a ", " who lives in a ")) + place
        return topic, f"{first} {article(kind)} in a {place}.", [*kind.split(), *place.split()]
    return article(kind), f"{first} {article(kind)}.", kind.split()


def single_story(words: Words) -> tuple[str, str, list[str]]:
    """One hero, sometimes with a thing."""
    topic, opening, wanted = named_hero(words)
    rng = words.rng
    kind = set(opening.strip(".").split())
    slots = {
        "he": "she" if kind & SHE else "he" if kind & HE else rng.choice(("he", "she")),
        "place": words.pick(PLACES),
    }
    slots["him"] = "him" if slots["he"] == "he" else "her"
    middle = rng.choice(TURNS)
    if rng.random() < 0.25:
        thing = words.of(THINGS, 0.2)
        topic += rng.choice((" and ", " with ", " who finds ", " and ")) + article(thing)
        slots["a_thing"], middle = article(thing), rng.choice(WITH_THING)
        wanted = [*wanted, thing]
    he = slots["he"].capitalize()
    sentences = [
        opening,
        f"{he} {rng.choice(WANTS)}.",
        middle.format(**slots),
        rng.choice(ENDS).format(**slots),
    ]
    return topic, " ".join(sentences), wanted


def pair_story(words: Words) -> tuple[str, str, list[str]]:
    """Two heroes."""
    rng = words.rng
    if rng.random() < 0.5:
        one, other = words.different("name", 2)
        opening = f"Once upon a time there were two friends, {one} and {other}."
        topic, wanted = f"{one} and {other}", [one, other]
        if rng.random() < 0.3:
            topic = "two friends" + rng.choice((", ", " named ", " called ")) + topic
    else:
        one, other = rng.sample(ANIMALS + KINDS, 2)
        opening = f"Once upon a time there were {article(one)} and {article(other)}."
        topic, wanted = f"{article(one)} and {article(other)}", [one, other]
    place = words.pick(PLACES)
    sentences = [
        opening,
        "They were good friends.",
        rng.choice(TOGETHER).format(place=place),
        rng.choice(TOGETHER_ENDS),
    ]
    return topic, " ".join(sentences), wanted


def story(words: Words) -> Turn:
    """A story about one hero, about two, or about anything."""
    draw = words.rng.random()
    topic, text, wanted = pair_story(words) if draw < 0.25 else single_story(words)
    if draw > 0.93:
        return Turn("stories", words.phrase(ASK_ANY), text, {"kind": "story", "words": []})
    ask = expand(words.phrase(ASK, wider="story", topic="\0"), words.rng).replace("\0", topic)
    return Turn("stories", ask, text, {"kind": "story", "words": wanted})
