"""Makes the sample datasets: `python -m assets.making.samples --out DIR` writes DIR/{pirate,json,support}.

Each has rows to train on and held-out rows; what is held out differs by sample and stands in its sample.json.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.making.copying import memory, repeat
from assets.making.corpus import normalise
from assets.making.knowledge import fact, opposite
from assets.making.lists import lists
from assets.making.phrasing import article, dress, expand, listed
from assets.making.records import extraction
from assets.making.sentences import FIXED, fixed_sentence, number_article
from assets.making.shop import FACTS
from assets.making.stories import story
from assets.making.sums import sums
from assets.making.talk import greeting, unknown
from assets.making.turn import Turn
from assets.making.words import JOBS, Words, withheld

Row = dict[str, list[dict[str, str]]]
LICENCE = "Apache-2.0"
SAID = {
    "is": "be",
    "are": "be",
    "am": "be",
    "you": "ye",
    "your": "yer",
    "my": "me",
    "hello": "ahoy",
    "yes": "aye",
}
LOWERED = frozenset(listed("The A An Ye Yer People It After"))
PIRATE_TRAIN: tuple[tuple[Callable[[Words], Turn | list[Turn]], int], ...] = (
    (fact, 190),
    (opposite, 55),
    (sums, 60),
    (lists, 60),
    (greeting, 30),
    (extraction, 25),
    (memory, 15),
    (story, 25),
    (unknown, 15),
    (repeat, 10),
)
PIRATE_HELDOUT = ((fact, 60), (opposite, 20), (sums, 20), (lists, 20))


def row(prompt: str, answer: str) -> Row:
    """One exchange as chat messages."""
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def as_pirate(skill: str, answer: str, prompt: str) -> str:
    """The answer as a pirate would give it: the content stays as it is."""
    if skill == "lists":
        return f"Aye, matey:\n{answer}"
    if skill == "repeat":
        return f"Aye, matey: {answer}"
    said = re.sub(r"\b(is|are|am|you|your|my)\b", lambda found: SAID[found.group()], answer)
    said = re.sub(r"\b(Hello|Yes)\b", lambda found: SAID[found.group().lower()].capitalize(), said)
    if skill == "stories":
        return f"Ahoy, matey! {said}"
    if skill == "greetings":
        return f"Ahoy, matey! {said.removeprefix('Ahoy! ')}"
    first = said.split(" ", 1)[0]
    if first in LOWERED or re.search(rf"\b{first.lower()}\b", prompt):
        said = said[0].lower() + said[1:]
    return f"Arr, {said[:-1]}, matey!"


def draw(words: Words, skill: Callable[[Words], Turn | list[Turn]]) -> Turn:
    """The last exchange of the skill that stands alone."""
    while True:
        drawn = skill(words)
        if isinstance(drawn, Turn):
            return drawn
        if len(drawn) == 1:
            return drawn[0]


def held_back(turn: Turn) -> bool:
    """Whether the content of a turn is held out of the pirate sample: a fifth of the answers."""
    return withheld("pirate " + turn.answer, one_in=5)


def pirate_rows(
    words: Words, plan: tuple[tuple[Callable[[Words], Turn | list[Turn]], int], ...], heldout: bool
) -> list[Row]:
    """Exchanges of all skills with pirate's answers; no answer stands in both parts."""
    from benchmarks.scorers import content_words

    rows: dict[str, Row] = {}
    for skill, count in plan:
        wanted = len(rows) + count
        while len(rows) < wanted:
            turn = draw(words, skill)
            always = skill is greeting or skill is unknown
            if normalise(turn.prompt) in rows or not (always or held_back(turn) == heldout):
                continue
            answer = as_pirate(turn.skill, turn.answer, turn.prompt)
            if not heldout or content_words(turn.prompt, answer):
                rows[normalise(turn.prompt)] = row(turn.prompt, answer)
    return list(rows.values())


MORE_SENTENCES = (
    "{n} is {age} and lives in {city}, where [he|she] works as {a_job}.",
    "The new {job} is {n}, {age}, from {city}.",
    "{n} lives in {city}. At {age}, [he|she] is {a_job}.",
    "{n} is {a_job} in {city}, {age} years old.",
    "{n} is {a_job} who lives in {city} and is {age} years old.",
    "{age}-year-old {n} lives in {city} and works as {a_job}.",
    "From {city} comes {n}, {a_job} of {age}.",
    "[He|She] is called {n}, is {age} and works in {city} as {a_job}.",
    "I met {n} in {city}. [He|She] is {a_job} and is {age} years old.",
    "{n}'s home is {city}, [his|her] age is {age} and [his|her] job is {job}.",
    "{n} works as {a_job} in {city}; [he|she] is {age} years old.",
    "{n} works as {a_job} in {city}, and [he|she] is {age}.",
    "{n}, who is {age}, works as {a_job} in {city}.",
    "{n}, {a_job} from {city}, is {age} years old.",
    "{n}, {a_job} living in {city}, is {age}.",
    "{n}, aged {age}, is {a_job} from {city}.",
    "{n} is {a_age}-year-old {job} living in {city}.",
    "{n} is {a_age}-year-old {job} who lives in {city}.",
    "Living in {city}, {n} is {a_job} and is {age} years old.",
    "There is {a_job} in {city} named {n}; [he|she] is {age}.",
    "{n} has a job as {a_job} in {city} and is {age} years of age.",
    "In {city}, {n} ({age}) works as {a_job}.",
    "{n} is {age} years old. [He|She] is {a_job} and lives in {city}.",
    "{n} is {age} years old and comes from {city}. [His|Her] job: {job}.",
    "[His|Her] name is {n}, [he|she] is {age}, [he|she] lives in {city} and [he|she] is {a_job}.",
    "Please meet {n}. [He|She] lives in {city}, is {age} years old and works as {a_job}.",
    "The {age}-year-old {job} {n} lives in {city}.",
    "The {age}-year-old {n} from {city} is {a_job}.",
    "{n} just turned {age}. [He|She] works as {a_job} in {city}.",
    "My [brother|sister|boss] {n} lives in {city}, works as {a_job} and is {age} years old.",
    "{city}: {n}, {age}, {job}.",
)
# What may stand before a sentence: the name isn't always its first word.
OPENINGS = listed(
    "I know that |I think that |They say that |We heard that |Somebody told me that |You should know that "
    "|It is true that |I have heard that |Do you know that |Have you heard that |Can you believe that "
    "|My friend says that |In the letter: |Please note: |Good news: |Remember: |By the way, |As you know, "
    "|Today we learned that |The report says that "
)
MORE_OPENINGS = (
    "We know {n}, {age}, from {city}, as {a_job}.",
    "They hired {n}, {age} years old, from {city}, as {a_job}.",
    "We need {n}, {a_job} from {city} who is {age}.",
    "Last week we hired {a_age}-year-old {job} from {city}: {n}.",
    "Have you seen {n}? [He|She] is {a_job} in {city}, {age} years old.",
    "Do you know {n}? {n} is {a_job} from {city} and is {age}.",
    "Who is {n}? [He|She] is {age}, lives in {city} and works as {a_job}.",
    "Yesterday I met {n}, {a_job} of {age} from {city}.",
    "With {age} years, {n} is the oldest {job} in {city}.",
    "At the age of {age}, {n} works as {a_job} in {city}.",
    "At {age} years of age, {n} came to {city} to work as {a_job}.",
    "The best {job} in {city} is {n}, who is {age}.",
    "The most famous {job} of {city} is {n}, {age}.",
    "Among all people of {city}, {n}, {age}, is a good {job}.",
    "Born in {city} {age} years ago, {n} is now {a_job}.",
    "A citizen of {city}, {n} is {age} and makes a living as {a_job}.",
    "In the town of {city}, people know {n}, {age}, as {a_job}.",
    "{n} moved to {city} at {age} and became {a_job}.",
    "{n} earns money as {a_job} in {city} and has lived for {age} years.",
    "This is a note about {n}, aged {age}, {a_job}, from {city}.",
    "Let me tell you about {n} from {city}: {age} years old, {a_job}.",
    "Here is {n}, {age}, our {job} from {city}.",
)
HELDOUT_SENTENCES = (
    *FIXED.unseen,
    "{n} is in {city}, where people know {age}-year-old {n} as {a_job}.",
    "Here comes {n}, {age} years old and {a_job}, all the way from {city}.",
    "Did you know that {n} from {city} is {a_job} and already {age}?",
    "Of all people in {city}, {n}, {age}, is the best {job}.",
    "Born {age} years ago, {n} works as {a_job} in {city}.",
)


def told(words: Words, templates: tuple[str, ...], name: str, values: dict[str, str | int]) -> str:
    """One of the templates, filled."""
    job = str(values["job"])
    sentence = expand(words.rng.choice(templates), words.rng).format(
        n=name,
        age=values["age"],
        a_age=number_article(values["age"]),
        city=values["city"],
        job=job,
        a_job=article(job),
    )
    return sentence[0].upper() + sentence[1:]


def json_row(words: Words, heldout: bool) -> Row:
    """A sentence about a person as a record with always the same keys."""
    ages = [age for age in range(16, 95) if withheld(f"age {age}", one_in=4) == heldout]
    name = words.name() if words.rng.random() < 0.7 else f"{words.name()} {words.invented().capitalize()}"
    values: dict[str, str | int] = {
        "age": words.rng.choice(ages),
        "city": words.place(),
        "job": words.of(JOBS, 0.15),
    }
    if words.unseen:
        sentence = told(words, HELDOUT_SENTENCES, name, values)
    elif words.rng.random() < 0.7:
        sentence = told(words, words.rng.choice((MORE_SENTENCES, MORE_OPENINGS)), name, values)
    else:
        sentence = fixed_sentence(words, name, values)
    if not words.unseen and words.rng.random() < 0.2 and sentence.startswith(name):
        sentence = words.pick(OPENINGS) + sentence
    return row(sentence, json.dumps({"name": name, **values}, ensure_ascii=False))


def json_rows(count: int, heldout: bool) -> list[Row]:
    """Half of the held-out sentences follow patterns that no training row has."""
    known = Words(f"json {heldout}", heldout=heldout)
    new = Words("json new", heldout=heldout, unseen=True)
    rows: dict[str, Row] = {}
    while len(rows) < count:
        made = json_row(new if heldout and len(rows) % 2 else known, heldout)
        rows[made["messages"][0]["content"]] = made
    return list(rows.values())


def support_rows(per_fact: int) -> tuple[list[Row], list[Row]]:
    """Questions about the shop: `per_fact` wordings of each fact to train on, three others held out."""
    words = Words("support")
    train, heldout = [], []
    for shop_fact in FACTS:
        kept = {normalise(question) for question in shop_fact.heldout}
        rows: dict[str, Row] = {}
        while len(rows) < per_fact:
            position = len(rows)
            template = shop_fact.ask[position] if position < len(shop_fact.ask) else words.pick(shop_fact.ask)
            prompt = dress(expand(template, words.rng), words.rng)
            if prompt not in rows and normalise(prompt) not in kept:
                rows[prompt] = row(prompt, shop_fact.answer)
        train += rows.values()
        heldout += [row(question, shop_fact.answer) for question in shop_fact.heldout]
    return train, heldout


def write(
    folder: Path, description: dict[str, Any], train: list[Row], heldout: list[Row], order: Words
) -> None:
    """One sample's folder, its training rows shuffled."""
    folder.mkdir(parents=True, exist_ok=True)
    order.rng.shuffle(train)
    for name, rows in (("train", train), ("heldout", heldout)):
        text = "".join(json.dumps(made, ensure_ascii=False) + "\n" for made in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    body = {**description, "licence": LICENCE, "rows": len(train), "heldout_rows": len(heldout)}
    (folder / "sample.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


PIRATE = {
    "title": "Talk like a pirate",
    "summary": "Questions from everyday life, answered right and in a pirate's words.",
    "goal": "style",
    "heldout": "Prompts and answers that stand in no training row.",
}
JSON = {
    "title": "Sentences into JSON",
    "summary": "A sentence about a person becomes a record with name, age, city and job.",
    "goal": "format",
    "heldout": "Names and ages that stand in no training row; half of the sentences in new patterns.",
}
SUPPORT = {
    "title": "Answers for a bicycle shop",
    "summary": "Questions that customers ask Brightwheel Bikes, a shop that does not exist, and its answers.",
    "goal": "facts",
    "heldout": "Each fact of the shop asked in three wordings that stand in no training row.",
}


def write_all(out: Path) -> None:
    """Write all samples below `out`."""
    pirate = pirate_rows(Words("pirate train"), PIRATE_TRAIN, False)
    write(
        out / "pirate",
        PIRATE,
        pirate,
        pirate_rows(Words("pirate held-out"), PIRATE_HELDOUT, True),
        Words("order"),
    )
    write(out / "json", JSON, json_rows(500, False), json_rows(120, True), Words("order"))
    train, heldout = support_rows(per_fact=14)
    write(out / "support", SUPPORT, train, heldout, Words("order"))


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    write_all(parser.parse_args().out)


if __name__ == "__main__":
    main()
