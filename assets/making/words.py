# ruff: noqa: E501  (a wording stays on one line)
"""The words of the starter's small world, and invented ones for copying; a tenth of them is withheld by hash."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from functools import cache

from assets.making.phrasing import Phrasings, dress, expand, listed
from assets.making.wider import WIDER

NAMES = listed(
    "Anna Ben Clara David Emma Felix Grace Henry Ivy Jack Kate Liam Mia Noah Olivia Paul Quinn Rosa Sam Tina Uma Victor "
    "Wendy Xavier Yara Zoe Adam Bella Carl Dora Eric Fiona George Hannah Ian Julia Kevin Laura Mark Nina Oscar Peter Ruth "
    "Simon Tom Ursula Vera Will Amy Bob Cindy Dan Eva Frank Gina Hugo Ida Jim Karl Lucy Max Nora Otto Pam Ray Sara Tim "
    "Lily Leo Maria John Mary James Linda Robert Susan Michael Sarah William Karen Thomas Nancy Daniel Lisa Matthew Betty "
    "Anthony Helen Steven Sandra Andrew Donna Joshua Carol Brian Michelle Edward Emily Ronald Amanda Jason Melissa Ryan "
    "Alice Omar Fatima Ahmed Leila Yuki Hiro Mei Chen Wei Priya Raj Anita Carlos Diego Sofia Lucia Pedro Ana Juan Ivan "
    "Olga Boris Natasha Lars Ingrid Sven Astrid Pierre Marie Luc Chloe Hans Greta Klaus Heidi Marco Giulia Luca Elena "
    "Kofi Ama Tariq Zara Nadia Amir Sunita Arjun Kim Lee Alex Chris Jordan Robin Charlie Jamie Toby Oliver Arthur Ella"
)
CITIES = listed(
    "London|Paris|Rome|Berlin|Madrid|Vienna|Oslo|Athens|Cairo|Tokyo|Lima|Dublin|Lisbon|Prague|Warsaw|Budapest|Moscow|"
    "Boston|Chicago|Denver|Dallas|Miami|Seattle|Toronto|Sydney|Delhi|Mumbai|Munich|Milan|Venice|Naples|Turin|Lyon|Nice|"
    "Geneva|Zurich|Bern|Brussels|Hamburg|Cologne|Dresden|Porto|Seville|Valencia|Bilbao|Leeds|York|Bath|Bristol|Oxford|"
    "Cambridge|Glasgow|Cardiff|Belfast|Cork|Galway|Bergen|Malmo|Aarhus|Turku|Riga|Tallinn|Vilnius|Kyoto|Osaka|Seoul|"
    "Busan|Hanoi|Manila|Jakarta|Dubai|Doha|Tunis|Accra|Lagos|Nairobi|Kampala|Quito|Bogota|Santiago|Havana|Austin|"
    "Houston|Phoenix|Portland|Atlanta|Detroit|Memphis|Montreal|Ottawa|Vancouver|Calgary|Perth|Brisbane|Auckland|New York|"
    "Los Angeles|San Diego|Cape Town|Hong Kong|Buenos Aires|Rio|Sofia|Zagreb|Split|Krakow|Gdansk|Brno|Graz|Salzburg"
)
JOBS = listed(
    "teacher|doctor|nurse|baker|farmer|painter|driver|cook|pilot|singer|dancer|writer|lawyer|plumber|carpenter|gardener|"
    "butcher|waiter|barber|tailor|sailor|soldier|judge|clerk|miner|mason|actor|artist|author|banker|builder|chemist|"
    "dentist|designer|detective|editor|electrician|engineer|firefighter|fisherman|florist|guard|guide|hunter|jeweller|"
    "journalist|librarian|manager|mechanic|model|musician|optician|photographer|physicist|poet|police officer|porter|"
    "postman|potter|priest|professor|programmer|reporter|scientist|secretary|shepherd|shoemaker|student|surgeon|"
    "translator|vet|watchmaker|weaver|welder|zookeeper|bus driver|taxi driver|shop owner|office clerk|truck driver|"
    "music teacher|sales manager|data analyst|software engineer|web designer|history teacher|piano player|architect|"
    "accountant|biologist|coach|cleaner|consultant|cashier|receptionist|pharmacist|beekeeper|locksmith|blacksmith"
)
ANIMALS = listed(
    "dog cat horse cow pig sheep goat hen duck goose rabbit mouse rat hamster fox wolf bear lion tiger elephant monkey "
    "giraffe zebra camel deer owl eagle parrot crow swan frog snake turtle lizard fish shark whale dolphin seal penguin bee "
    "ant spider butterfly snail hedgehog squirrel donkey kangaroo koala panda beaver otter bat pony puppy kitten"
)
FOODS = listed(
    "pizza|soup|rice|bread|cheese|pasta|salad|cake|apples|bananas|eggs|fish|chicken|noodles|beans|pancakes|cookies|"
    "chocolate|honey|grapes|carrots|potatoes|tomatoes|sushi|tacos|burgers|pears|plums|cherries|nuts|ice cream|toast|"
    "curry|dumplings|waffles|olives|corn|mushrooms|strawberries|oranges"
)
DRINKS = [
    "tea",
    "coffee",
    "milk",
    "water",
    "juice",
    "cocoa",
    "lemonade",
    "apple juice",
    "green tea",
    "orange juice",
    "hot chocolate",
    "soda",
    "beer",
    "wine",
]
SPORTS = listed(
    "tennis|football|golf|chess|hockey|basketball|rugby|cricket|baseball|volleyball|badminton|darts|handball|squash|"
    "table tennis|water polo|soccer|cards|bowls|snooker"
)
INSTRUMENTS = listed("piano guitar violin flute drum trumpet harp cello organ banjo clarinet saxophone")
COLOURS = listed("red blue green yellow black white brown pink purple orange grey silver golden")
THINGS = listed(
    "lamp chair table book pen bag hat coat ring clock phone radio bike car boat ball box cup plate spoon knife key map "
    "letter coin watch shoe shirt scarf umbrella mirror candle basket bottle blanket pillow camera guitar kite ladder drum "
    "rope hammer bell broom bucket ticket flag jacket sofa desk towel carpet kettle pan stone wheel sword crown"
)
PLURALS = listed(
    "apples books coins pens cats dogs eggs stamps balls cups keys hats boxes shoes stones flowers cookies cards marbles "
    "shells bottles sweets chairs oranges pears toys candles tickets letters lemons plates buttons birds fish pencils"
)
ROOMS = listed(
    "kitchen garden attic cellar garage bedroom bathroom office hall shed drawer cupboard fridge box bag"
)
DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
LANGUAGES = listed(
    "English French German Spanish Italian Greek Dutch Polish Russian Turkish Arabic Hindi Chinese Japanese Korean"
)
HOBBIES = listed(
    "reading|painting|cooking|fishing|dancing|singing|swimming|running|cycling|hiking|gardening|knitting|skiing|sailing|"
    "drawing|baking|climbing|writing|photography|camping|surfing|skating|sewing|bird watching|riding"
)
KINDS = listed(
    "boy girl king queen farmer wizard princess prince robot dragon knight baker sailor giant fairy ghost "
    "monster clown witch teacher child man woman alien elf dwarf unicorn mermaid hunter painter"
)
PLACES = listed(
    "forest|castle|village|garden|farm|mountain|city|desert|jungle|beach|island|school|cave|lake|river|valley|zoo|park|"
    "tower|house|field|harbour|market|moon|small town|old mill|big city|dark forest|quiet village"
)
NUMBER_WORDS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
ONSETS = listed(
    "b c d f g h j k l m n p r s t v w y z br bl cl cr dr fl fr gl gr pl pr sc sh sk sl sm sn sp st sw th tr ch qu"
)
VOWELS = listed("a e i o u a e i o u ai ea ee oo ou ia io y au ei")
CODAS = ("",) * 6 + tuple(listed("n r l s t d k m p x z b g f nd rt ng sk st lm rn ck th ss ll nn nt mp rd"))

# Never invented: rude words, and the words of the pirate sample.
UNWANTED = re.compile(
    r"fuck|shit|cunt|cock|dick|nig|slut|rap[ei]|nazi|piss|puss|fag|arse|ass|tit|cum|sex|hore|wank|porn|fuc|fuk|coon|spic"
    r"|kike|homo|gay|bitc|damn|hell|kill|poo|pee|dyke|twat|wog|^(arr|ahoy|matey|aye|ye|yer|avast)$"
)
ACCENTS = {
    "a": "äáàåã",
    "e": "éèêë",
    "i": "íï",
    "o": "öóøô",
    "u": "üúů",
    "c": "çč",
    "n": "ñń",
    "s": "šś",
    "z": "žź",
    "l": "ł",
}


def withheld(key: object, one_in: int = 10) -> bool:
    """Whether a word (or pair) is kept out of the training text. By hash: it needs no list and never changes."""
    return zlib.crc32(str(key).lower().encode()) % one_in == 0


def accented(word: str, rng: random.Random) -> str:
    """Now and then the word with an accent on one of its letters."""
    found = [position for position, letter in enumerate(word) if letter in ACCENTS]
    if rng.random() > 0.03 or not found:
        return word
    position = rng.choice(found)
    return word[:position] + rng.choice(ACCENTS[word[position]]) + word[position + 1 :]


@cache
def part(words: tuple[str, ...], heldout: bool) -> tuple[str, ...]:
    """The withheld words of a list or the others, or all where there are none."""
    return tuple(word for word in words if withheld(word) == heldout) or words


class Words:
    """A seeded source of words and phrasings.

    `heldout` draws withheld words, `unseen` withheld phrasings, `wide` the wider ones too, `opened` also those
    of `openings`.
    """

    def __init__(
        self,
        seed: int | str,
        *,
        heldout: bool = False,
        unseen: bool = False,
        pieces: Sequence[str] = (),
        wide: bool = False,
        opened: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        self.heldout = heldout
        self.unseen = unseen
        self.pieces = pieces
        self.wide = wide
        self.opened = opened

    def phrase(self, phrasings: Phrasings, wider: str = "", **slots: object) -> str:
        """One way of putting a request, its slots filled; `wider` is its name among the wider wordings."""
        templates = phrasings.unseen if self.unseen else phrasings.seen
        if self.wide and self.rng.random() < 0.5:
            templates = WIDER.get(wider, templates)
        template = expand(self.rng.choice(templates), self.rng)
        return (template if self.unseen else dress(template, self.rng)).format(**slots)

    def pick(self, words: Sequence[str]) -> str:
        """Any of `words`; no part of them is withheld."""
        return self.rng.choice(words)

    def sift(self, words: Sequence[str]) -> str:
        """One of `words`, from the withheld part or from the other; any if the list has no such part."""
        return self.rng.choice(part(tuple(words), self.heldout))

    def invented(self) -> str:
        """A lower-case word that means nothing: syllables, sometimes letters or pieces of the vocabulary at random."""
        rng = self.rng
        while True:
            kind = rng.random()
            if kind < 0.72 or (kind < 0.88 and not self.pieces):
                word = "".join(
                    rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
                    for _ in range(rng.choice((1, 2, 2, 2, 2, 3)))
                )
            elif kind < 0.88:
                word = "".join(rng.choice(self.pieces) for _ in range(rng.choice((1, 2, 2, 3)))).lower()
            else:
                word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 8)))
            if 2 < len(word) < 13 and withheld(word) == self.heldout and not UNWANTED.search(word):
                return word

    def name(self) -> str:
        """A person's name, real or invented."""
        return (
            self.sift(NAMES) if self.rng.random() < 0.45 else accented(self.invented(), self.rng).capitalize()
        )

    def place(self) -> str:
        """A town, real or invented."""
        kind = self.rng.random()
        if kind < 0.4:
            return self.sift(CITIES)
        if kind < 0.47:
            return (
                self.rng.choice(("New", "Port", "Saint", "North", "Fort", "Lake", "San"))
                + " "
                + self.invented().capitalize()
            )
        return self.invented().capitalize()

    def of(self, words: Sequence[str], invented: float = 0.25) -> str:
        """One of `words`, or with the given chance an invented word in its place."""
        return self.invented() if self.rng.random() < invented else self.pick(words)

    def number(self, most: int = 100) -> int:
        """A number below `most` or, now and then, a longer one."""
        return self.rng.randrange(most) if self.rng.random() < 0.85 else self.rng.randrange(most * 50)

    def digits(self) -> str:
        """A string of 3 to 7 digits, as in codes and telephone numbers."""
        return "".join(self.rng.choice("0123456789") for _ in range(self.rng.randint(3, 7)))

    def different(self, draw: str, count: int) -> list[str]:
        """`count` different words from the named method."""
        found: list[str] = []
        while len(found) < count:
            word = getattr(self, draw)()
            if word not in found:
                found.append(word)
        return found
