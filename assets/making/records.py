# ruff: noqa: E501  (a wording stays on one line)
"""Questions about people told in the prompt, and records of them as JSON. The values are copied, never known."""

from __future__ import annotations

import json

from assets.making.openings import AS_JSON_OPENED
from assets.making.phrasing import Phrasings, article, expand
from assets.making.sentences import FIELDS, Record, draw_record
from assets.making.things import about_object, about_things, draw_object, framed
from assets.making.turn import Turn, keywords
from assets.making.words import Words

PICK = Phrasings(
    (
        "[What is|What's] the {key} in [this sentence|this text|the sentence|this]? {s}",
        "Find the {key}[ in this sentence| in this text|]: {s}",
        "Extract the {key}[ from this sentence| from this text| from|]: {s}",
        "Give me the {key}[ in this sentence| from this text|]: {s}",
        "Take the {key} from this[ sentence| text|]: {s}",
        "{s} [What is|What's] the {key}?",
        "{s} Extract the {key}.",
        "{s} Give me [only |just |]the {key}.",
        "{s} Find the {key}.",
        "[Which|What] {key} is [named |]in this [sentence|text]? {s}",
        "Name the {key}: {s}",
        "Pull out the {key}: {s}",
        "[Name|Write|Tell me] [only |just |]the {key}: {s}",
    ),
    (
        "Look for the {key} in the words: {s}",
        "{s} Which {key} stands there?",
        "I only want the {key} of this: {s}",
        "From the following, get the {key}: {s}",
    ),
)
AS_JSON = Phrasings(
    (
        "[Write|Give|Return|Show|Output|Put] this as JSON with the [keys|fields] {keys}: {s}",
        "[Write|Give|Return|Show|Output|Put] this [sentence|text] as JSON with [keys|fields|the keys] {keys}: {s}",
        "[Turn|Convert|Change] this [sentence |text |]into JSON with [the |][keys|fields] {keys}: {s}",
        "[Turn|Convert|Change] this [sentence |text |]into [a JSON object|a JSON record] with [the |][keys|fields] {keys}: {s}",
        "Make JSON with [the |][keys|fields] {keys} from this[ sentence| text|]: {s}",
        "Make a JSON [object|record] with [the |][keys|fields] {keys} from: {s}",
        "Extract {keys} as JSON[ from this sentence| from this text|]: {s}",
        "Extract {keys} as JSON: {s}",
        "Give me {keys} as JSON: {s}",
        "JSON with {keys}: {s}",
        "JSON with [the |][keys|fields] {keys}: {s}",
        "Keys: {keys}. [Text|Sentence]: {s}",
        "{s} [Write|Give|Return|Show|Put] this as JSON with [the |][keys|fields] {keys}.",
        "{s} [Turn|Convert] this into JSON with [the |][keys|fields] {keys}.",
        "{s} Give me {keys} as JSON.",
        "{s} Make JSON with [the |][keys|fields] {keys}.",
        "{s}\nJSON with [the |][keys|fields] {keys}:",
        "Use the [keys|fields] {keys} and write JSON: {s}",
        "Create JSON with [the |][keys|fields] {keys} for: {s}",
        "Answer in JSON with [the |][keys|fields] {keys}: {s}",
    ),
    (
        "I need a JSON object that has {keys} for this: {s}",
        "Express the following in JSON, keys {keys}: {s}",
        "{s} As JSON please, with {keys} as keys.",
        "Produce JSON ({keys}) out of this sentence: {s}",
        "Represent this as JSON using {keys}. {s}",
    ),
)


def question(words: Words, record: Record, field: str) -> tuple[str, str, str | int]:
    """A question for one field, its answer, and the value."""
    value = record.values[field]
    asked = words.phrase(FIELDS[field].ask, n=record.name)
    return asked, FIELDS[field].answer.format(n=record.name, v=value, a_v=article(str(value))), value


def draw_people(words: Words, count: int, shared: str | None) -> list[Record]:
    """`count` people, of each of whom the field `shared` is told if one is named."""
    return [draw_record(words, most=4 if count == 1 else 2, field=shared) for _ in range(count)]


def about_people(words: Words) -> Turn:
    """A question about one of one to three people; now and then about somebody who isn't named: unknown."""
    rng = words.rng
    count = rng.choice((1, 1, 1, 2, 2, 3))
    # Two people of whom the same is told, who must be told apart, are rare by chance: more for training.
    shared = rng.choice(list(FIELDS)) if not words.heldout and count > 1 and rng.random() < 0.7 else None
    people = draw_people(words, count, shared)
    while len({person.name for person in people}) < count or len(field_values(people)) < sum(
        len(p.values) for p in people
    ):
        people = draw_people(words, count, shared)
    asked_person = rng.choice(people)
    field = shared or rng.choice(list(asked_person.values))
    text = " ".join(person.sentence for person in people)
    asked, answer, value = question(words, asked_person, field)
    if rng.random() < 0.06:
        stranger = words.name()
        if stranger not in text:
            asked = words.phrase(FIELDS[field].ask, n=stranger)
            return Turn("unknown", framed(words, text, asked), "I don't know.", {"kind": "unknown"})
    if rng.random() < 0.12 and field != "pet":
        told = rng.choice(FIELDS[field].told).format(v=value, a_v=article(str(value)))
        asked = rng.choice(
            (
                f"Who {told}?",
                f"[Who is it that|Which person] {told}?",
                f"What is the name of the person who {told}?",
            )
        )
        asked = expand(asked, rng)
        return extraction_turn(words, text, asked, f"{asked_person.name} {told}.", asked_person.name, people)
    return extraction_turn(words, text, asked, answer, value, people)


def field_values(people: list[Record]) -> set[str | int]:
    """All values told about the people."""
    return {value for person in people for value in person.values.values()}


def extraction_turn(
    words: Words, text: str, asked: str, answer: str, value: str | int, people: list[Record]
) -> Turn:
    """The turn, with every other value as a word that must not stand in the answer."""
    told = {str(other) for other in field_values(people)} | {person.name for person in people}
    others = tuple(sorted(other for other in told if other not in answer))
    return Turn("extraction", framed(words, text, asked), answer, keywords(str(value), none=others))


def pick_field(words: Words) -> Turn:
    """`Find the city: ...`, answered with the bare value."""
    record = draw_record(words, least=2)
    field = words.rng.choice([*record.values, "name"])
    value = record.name if field == "name" else record.values[field]
    key = "name" if field == "name" else words.rng.choice(FIELDS[field].keys).replace("_", " ")
    others = tuple(
        str(other) for other in (record.name, *record.values.values()) if str(other) not in str(value)
    )
    prompt = words.phrase(PICK, wider="pick", key=key, s="\0").replace("\0", record.sentence)
    return Turn("extraction", prompt, str(value), keywords(str(value), none=others))


def extraction(words: Words) -> Turn:
    """A question about a text."""
    draw = words.rng.random()
    if draw < 0.55:
        return about_people(words)
    return about_things(words) if draw < 0.7 else about_object(words) if draw < 0.83 else pick_field(words)


def keys_text(words: Words, keys: list[str]) -> str:
    """How the wanted keys are named in a prompt."""
    rng = words.rng
    if rng.random() < 0.06:
        return json.dumps(dict.fromkeys(keys, rng.choice(("", "...", "?"))))
    quote = rng.choice(("", "", "", '"', "'"))
    quoted = [f"{quote}{key}{quote}" for key in keys]
    if len(quoted) == 1 or rng.random() < 0.4:
        return ", ".join(quoted)
    return ", ".join(quoted[:-1]) + rng.choice((" and ", " and ", ", and ")) + quoted[-1]


def as_json(words: Words) -> Turn:
    """A record with the keys that the prompt names, in their order."""
    rng = words.rng
    if rng.random() < 0.2:
        values, sentence = draw_object(words)
    else:
        record = draw_record(words)
        values, sentence = {"name": record.name}, record.sentence
        values |= {rng.choice(FIELDS[field].keys): value for field, value in record.values.items()}
    keys = list(values)
    if rng.random() < 0.3 and len(keys) > 1:
        keys = rng.sample(keys, rng.randint(1, len(keys)))
    wanted = {key: values[key] for key in keys}
    opened = words.opened and rng.random() < 0.35
    phrasings, wider = (Phrasings(AS_JSON_OPENED), "") if opened else (AS_JSON, "json")
    prompt = (
        words.phrase(phrasings, wider=wider, keys="\0", s="\1")
        .replace("\0", keys_text(words, keys))
        .replace("\1", sentence)
    )
    return Turn("json", prompt, json.dumps(wanted, ensure_ascii=False), {"kind": "json", "record": wanted})


def statement(words: Words) -> Turn:
    """A sentence without a question is said back."""
    record = draw_record(words)
    sentence = record.sentence
    return Turn("echo", sentence, f"I see. {sentence}", {"kind": "exact", "text": f"I see. {sentence}"})
