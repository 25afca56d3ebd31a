# ruff: noqa: E501  (a wording stays on one line)
"""Lists: of things of a kind, always in one canonical order, and of words given in the prompt."""

from __future__ import annotations

from assets.making.phrasing import Phrasings
from assets.making.turn import Turn
from assets.making.words import FOODS, NUMBER_WORDS, THINGS, Words

CATEGORIES: dict[str, tuple[str, ...]] = {
    kinds: tuple(items.split("|"))
    for kinds, items in {
        "fruits": "apple|banana|cherry|orange|pear|grape|lemon|plum",
        "vegetables": "carrot|potato|tomato|onion|pea|bean|cabbage|pumpkin",
        "animals": "dog|cat|horse|cow|lion|elephant|bear|mouse",
        "farm animals": "cow|pig|sheep|horse|hen|goat|duck|goose",
        "wild animals": "lion|tiger|elephant|wolf|bear|fox|zebra|giraffe",
        "pets": "dog|cat|hamster|rabbit|parrot|goldfish|turtle|mouse",
        "birds": "eagle|owl|crow|swan|duck|parrot|sparrow|penguin",
        "fish": "salmon|trout|tuna|shark|cod|herring|carp|eel",
        "insects": "ant|bee|fly|beetle|butterfly|wasp|moth|cricket",
        "colours": "red|blue|green|yellow|black|white|orange|purple",
        "colors": "red|blue|green|yellow|black|white|orange|purple",
        "countries": "France|Italy|Germany|Spain|Japan|China|India|Brazil",
        "cities": "London|Paris|Rome|Berlin|Madrid|Vienna|Tokyo|Cairo",
        "capitals": "London|Paris|Rome|Berlin|Madrid|Vienna|Tokyo|Cairo",
        "days of the week": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
        "days": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
        "months": "January|February|March|April|May|June|July|August|September|October|November|December",
        "months of the year": "January|February|March|April|May|June|July|August|September|October|November|December",
        "seasons": "spring|summer|autumn|winter",
        "planets": "Mercury|Venus|Earth|Mars|Jupiter|Saturn|Uranus|Neptune",
        "continents": "Europe|Asia|Africa|North America|South America|Australia|Antarctica",
        "languages": "English|French|German|Spanish|Italian|Greek|Dutch|Polish",
        "sports": "football|tennis|golf|hockey|rugby|basketball|baseball|cricket",
        "games": "chess|cards|dominoes|darts|bingo|marbles|checkers|poker",
        "drinks": "water|milk|tea|coffee|juice|lemonade|cocoa|wine",
        "foods": "bread|rice|soup|pizza|cheese|pasta|salad|cake",
        "tools": "hammer|saw|drill|spade|rake|axe|screwdriver|pliers",
        "clothes": "shirt|coat|hat|dress|skirt|jacket|scarf|sock",
        "body parts": "head|arm|leg|hand|foot|nose|ear|eye",
        "parts of the body": "head|arm|leg|hand|foot|nose|ear|eye",
        "jobs": "teacher|doctor|baker|farmer|painter|driver|cook|pilot",
        "instruments": "piano|guitar|violin|flute|drum|trumpet|harp|cello",
        "musical instruments": "piano|guitar|violin|flute|drum|trumpet|harp|cello",
        "flowers": "rose|tulip|daisy|lily|violet|poppy|iris|orchid",
        "trees": "oak|pine|birch|maple|willow|beech|elm|palm",
        "vehicles": "car|bus|train|bicycle|boat|plane|truck|tram",
        "pieces of furniture": "table|chair|bed|sofa|desk|shelf|wardrobe|stool",
        "rooms": "kitchen|bathroom|bedroom|office|hall|attic|cellar|garage",
        "metals": "gold|silver|iron|copper|tin|lead|zinc|nickel",
        "numbers": "one|two|three|four|five|six|seven|eight|nine|ten",
        "letters": "A|B|C|D|E|F|G|H",
        "girls' names": "Anna|Clara|Emma|Grace|Ivy|Kate|Mia|Rosa",
        "boys' names": "Ben|David|Felix|Henry|Jack|Liam|Noah|Paul",
        "shapes": "circle|square|triangle|oval|star|heart|cube|cone",
    }.items()
}
FREE = Phrasings(
    (
        "Name {n} {kind}.",
        "List {n} {kind}.",
        "Give me {n} {kind}.",
        "Tell me {n} {kind}.",
        "Say {n} {kind}.",
        "Write {n} {kind}.",
        "Write down {n} {kind}.",
        "Give me a list of {n} {kind}.",
        "Make a list of {n} {kind}.",
        "Write a list of {n} {kind}.",
        "[I need|I want|Show me] [a list of |]{n} {kind}.",
        "A list of {n} {kind}[, please.|.|]",
        "{N} {kind}[, please.|.|]",
        "[What are|Which are] {n} {kind}?",
        "[Can|Could] you [name|list|give me|tell me] {n} {kind}?",
        "Do you know {n} {kind}?",
        "Name {n} [different|common|well-known] {kind}.",
        "List {n} [different|common|well-known] {kind}.",
        "Give me the names of {n} {kind}.",
        "Give me {n} examples of {kind}.",
        "Tell me the names of {n} {kind}.",
        "I would like to [know|hear] {n} {kind}.",
        "Show me {n} {kind}.",
        "Think of {n} {kind}.",
    ),
    (
        "Which {n} {kind} can you think of?",
        "Recite {n} {kind} for me.",
        "I am looking for {n} {kind}.",
        "Let me hear {n} {kind}, please.",
        "Would you kindly list {n} {kind} for me?",
        "Help me to find {n} {kind}.",
        "Name me any {n} {kind} you like.",
    ),
)
COMPLETE = Phrasings(
    (
        "Name [all |]the {kind}.",
        "List [all |]the {kind}.",
        "What are the {kind}?",
        "Which are the {kind}?",
        "Tell me [all |]the {kind}.",
        "Give me a list of [all |]the {kind}.",
        "Write [all |]the {kind}.",
        "Say [all |]the {kind}.",
        "Name all {kind}.",
        "List all {kind}.",
    ),
    (
        "I want to know every one of the {kind}.",
        "Please go through the {kind}.",
        "Show me all of the {kind}.",
    ),
)
COMPLETE_KINDS = ("days of the week", "months of the year", "seasons", "planets", "continents")
GIVEN = Phrasings(
    (
        "Make a list of {items}.",
        "Make a [numbered |]list of these words: {items}.",
        "Make a [numbered |]list with {items}.",
        "Make a [numbered |]list: {items}",
        "Make a list from {items}.",
        "Write {items} as a [numbered |]list.",
        "Write a [numbered |]list of {items}.",
        "Put {items} in a [numbered |]list.",
        "Put these words in a list: {items}.",
        "Turn {items} into a [numbered |]list.",
        "Turn this into a [numbered |]list: {items}",
        "List these [things|words|items]: {items}.",
        "List the [words|things|items] {items}.",
        "Number these [words|things|items]: {items}.",
        "Show {items} as a [numbered |]list.",
        "[I need|I want] a [numbered |]list of {items}.",
        "[I need|I want] to buy {items}. Make a [shopping |]list.",
        "My shopping list is {items}. Write it as a list.",
    ),
    (
        "Please arrange {items} as a list.",
        "Number the following for me: {items}.",
        "Here are some words: {items}. Show them as a list.",
        "Could a list be made of {items}?",
        "From these words make a list: {items}",
    ),
)


def numbered(items: list[str]) -> str:
    """`1. apple` and so on, one a line: the numbers help a small model to stop at the right one."""
    return "\n".join(f"{position}. {item}" for position, item in enumerate(items, 1))


def joined(words: Words, items: list[str]) -> str:
    """The items as they stand in a sentence."""
    if words.rng.random() < 0.4:
        return ", ".join(items)
    return ", ".join(items[:-1]) + words.rng.choice((" and ", " and ", ", and ")) + items[-1]


def free_list(words: Words) -> Turn:
    """Some things of a kind; three if no number is asked for."""
    kind = words.rng.choice(list(CATEGORIES))
    known = CATEGORIES[kind]
    count = words.rng.randint(2, min(6, len(known)))
    if words.rng.random() < 0.15:
        count, amount = 3, "some"
    else:
        amount = NUMBER_WORDS[count] if words.rng.random() < 0.7 else str(count)
    prompt = words.phrase(FREE, wider="free list", n=amount, N=amount.capitalize(), kind=kind)
    return Turn(
        "lists", prompt, numbered(list(known[:count])), {"kind": "list", "count": count, "among": list(known)}
    )


def given_list(words: Words) -> Turn:
    """The words of the prompt as a list, in their order."""
    drawn: dict[str, None] = {}
    source = words.rng.random()
    wanted = words.rng.randint(2, 5)
    while len(drawn) < wanted:
        drawn[
            words.name()
            if source < 0.25
            else words.of(FOODS, 0.4)
            if source < 0.55
            else words.of(THINGS, 0.5)
        ] = None
    items = list(drawn)
    prompt = words.phrase(GIVEN, wider="given list", items=joined(words, items))
    return Turn("lists", prompt, numbered(items), {"kind": "list", "count": len(items), "exactly": items})


def complete_list(words: Words) -> Turn:
    """All things of a kind of which there are few."""
    kind = words.rng.choice(COMPLETE_KINDS)
    items = list(CATEGORIES[kind])
    check = {"kind": "list", "count": len(items), "among": items}
    return Turn("lists", words.phrase(COMPLETE, wider="complete list", kind=kind), numbered(items), check)


def lists(words: Words) -> Turn:
    """A free list, a complete one, or one of given words."""
    if words.rng.random() < 0.06:
        return complete_list(words)
    return free_list(words) if words.rng.random() < 0.55 else given_list(words)
