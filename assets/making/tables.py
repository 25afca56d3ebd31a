# ruff: noqa: E501  (a wording stays on one line)
"""What the starter model knows, as plain tables: x to y for each relation, and opposites."""

from __future__ import annotations

from assets.making.phrasing import listed


def table(text: str) -> dict[str, str]:
    """`France:Paris, Italy:Rome` -> a dictionary."""
    return dict(entry.strip().split(":") for entry in text.replace("\n", " ").split(","))


CAPITALS = table(
    """France:Paris, Italy:Rome, Germany:Berlin, Spain:Madrid, Austria:Vienna, Norway:Oslo, Greece:Athens, Egypt:Cairo,
    Japan:Tokyo, Peru:Lima, Ireland:Dublin, Portugal:Lisbon, Poland:Warsaw, Hungary:Budapest, Russia:Moscow, England:London,
    Sweden:Stockholm, Denmark:Copenhagen, Finland:Helsinki, Belgium:Brussels, China:Beijing, India:New Delhi, Kenya:Nairobi,
    Cuba:Havana, Canada:Ottawa, Australia:Canberra, Turkey:Ankara, Switzerland:Bern, Iceland:Reykjavik, Scotland:Edinburgh,
    Mexico:Mexico City, Brazil:Brasilia, Argentina:Buenos Aires, Chile:Santiago, Thailand:Bangkok, Vietnam:Hanoi,
    Ukraine:Kyiv, Iran:Tehran, Iraq:Baghdad, the Netherlands:Amsterdam, the United States:Washington, South Korea:Seoul"""
)
LANGUAGE_OF = table(
    """France:French, Italy:Italian, Germany:German, Spain:Spanish, Austria:German, Norway:Norwegian, Greece:Greek,
    Egypt:Arabic, Japan:Japanese, Portugal:Portuguese, Poland:Polish, Hungary:Hungarian, Russia:Russian, England:English,
    Sweden:Swedish, Denmark:Danish, China:Chinese, Mexico:Spanish, Brazil:Portuguese, Turkey:Turkish, Australia:English"""
)
CONTINENT_OF = table(
    """France:Europe, Italy:Europe, Germany:Europe, Spain:Europe, Norway:Europe, Greece:Europe, Egypt:Africa, Japan:Asia,
    Peru:South America, Poland:Europe, China:Asia, India:Asia, Kenya:Africa, Canada:North America, Mexico:North America,
    Brazil:South America, Argentina:South America, Thailand:Asia, Sweden:Europe, Nigeria:Africa"""
)
COLOUR_OF = table(
    """the sky:blue, grass:green, snow:white, blood:red, the sun:yellow, a banana:yellow, a lemon:yellow, a tomato:red,
    a carrot:orange, milk:white, coal:black, a frog:green, chocolate:brown, a strawberry:red, the night:black, a leaf:green,
    an elephant:grey, a fire engine:red, a cucumber:green, a swan:white, a pig:pink, the sea:blue, a polar bear:white,
    a crow:black, a pumpkin:orange, a cherry:red"""
)
SOUND_OF = table(
    """dog:woof, cat:meow, cow:moo, pig:oink, sheep:baa, duck:quack, horse:neigh, lion:roar, bee:buzz, snake:hiss, owl:hoot,
    frog:ribbit, mouse:squeak, hen:cluck, rooster:cock-a-doodle-doo, bird:tweet"""
)
YOUNG_OF = table(
    """dog:puppy, cat:kitten, cow:calf, pig:piglet, sheep:lamb, duck:duckling, horse:foal, lion:cub, hen:chick, goat:kid,
    bear:cub, frog:tadpole, deer:fawn, kangaroo:joey, swan:cygnet, goose:gosling"""
)
LEGS_OF = table(
    """dog:four, cat:four, cow:four, horse:four, bird:two, hen:two, spider:eight, bee:six, ant:six, snake:no, fish:no,
    duck:two, elephant:four, person:two, fly:six, octopus:eight, mouse:four, table:four"""
)
HOME_OF = table(
    """bird:nest, bee:hive, dog:kennel, spider:web, lion:den, horse:stable, pig:sty, rabbit:burrow, king:castle,
    snail:shell, ant:anthill, cow:barn"""
)
GIVES = table(
    "cow:milk, hen:eggs, bee:honey, sheep:wool, baker:bread, apple tree:apples, vine:grapes, duck:eggs, olive tree:olives"
)
EATS = table(
    """rabbit:carrots, monkey:bananas, cow:grass, lion:meat, mouse:cheese, panda:bamboo, horse:hay, cat:fish, squirrel:nuts,
    bird:seeds, bear:honey, koala:leaves, dog:bones, frog:flies"""
)
JOB_OF = table(
    """baker:bakes bread, teacher:teaches children, doctor:helps sick people, farmer:grows food, pilot:flies planes,
    painter:paints pictures, writer:writes books, cook:cooks meals, singer:sings songs, dancer:dances, builder:builds houses,
    dentist:looks after teeth, gardener:looks after gardens, tailor:makes clothes, fisherman:catches fish, driver:drives cars,
    postman:brings letters, butcher:sells meat, barber:cuts hair, firefighter:puts out fires, vet:helps sick animals,
    sailor:sails ships, police officer:catches thieves, librarian:looks after books"""
)
TOOL_FOR = table(
    """cut paper:scissors, write:a pen, open a door:a key, tell the time:a clock, sweep the floor:a broom, eat soup:a spoon,
    cut bread:a knife, hit a nail:a hammer, stay dry in the rain:an umbrella, brush your teeth:a toothbrush, take photos:a camera,
    see in the dark:a torch, wash your hands:soap, dry your hands:a towel, climb a wall:a ladder, comb your hair:a comb,
    call a friend:a phone, saw wood:a saw, dig a hole:a spade, measure heat:a thermometer, see the stars:a telescope,
    boil water:a kettle, sleep:a bed, draw a line:a ruler"""
)
SENSE = table(
    "see:eyes, hear:ears, smell:nose, taste:tongue, walk:feet, think:brain, chew:teeth, breathe:lungs, touch:hands"
)
KIND_OF = table(
    """apple:fruit, rose:flower, carrot:vegetable, dog:animal, hammer:tool, oak:tree, piano:instrument, football:sport,
    banana:fruit, tulip:flower, potato:vegetable, violin:instrument, tennis:sport, eagle:bird, shark:fish, salmon:fish,
    ant:insect, bee:insect, sparrow:bird, onion:vegetable, pear:fruit, daisy:flower, pine:tree, saw:tool, drum:instrument,
    Monday:day, July:month, red:colour, chair:piece of furniture, car:vehicle, bus:vehicle, shirt:piece of clothing,
    gold:metal, iron:metal, diamond:stone, Paris:city, Italy:country, Mars:planet, winter:season"""
)
MADE_OF = table(
    """bread:flour, cheese:milk, wine:grapes, paper:wood, a window:glass, butter:milk, glass:sand, a book:paper, ice:water,
    a tyre:rubber, a candle:wax, a jumper:wool, chocolate:cocoa, juice:fruit, an omelette:eggs, chips:potatoes, a brick:clay"""
)
AMOUNTS = table(
    """days:a week:seven, months:a year:twelve, hours:a day:twenty-four, minutes:an hour:sixty, seconds:a minute:sixty,
    seasons:a year:four, weeks:a year:fifty-two, days:a year:365, fingers:a hand:five, wheels:a car:four,
    wheels:a bicycle:two, sides:a triangle:three, sides:a square:four, letters:the alphabet:twenty-six,
    years:a century:one hundred, players:a football team:eleven, eggs:a dozen:twelve, colours:a rainbow:seven,
    planets:the solar system:eight, cents:a dollar:one hundred, strings:a violin:four, legs:a tripod:three""".replace(
        ":a", "=a"
    ).replace(":the", "=the")
)
ORDER_DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday Monday")
ORDER_MONTHS = listed(
    "January February March April May June July August September October November December January"
)

OPPOSITES = table(
    """hot:cold, big:small, tall:short, fast:slow, happy:sad, good:bad, day:night, up:down, in:out, on:off, open:closed,
    full:empty, hard:soft, wet:dry, clean:dirty, strong:weak, rich:poor, young:old, early:late, light:dark, heavy:light,
    thick:thin, wide:narrow, deep:shallow, near:far, left:right, right:wrong, true:false, yes:no, black:white, loud:quiet,
    noisy:quiet, easy:difficult, high:low, long:short, new:old, first:last, begin:end, start:stop, push:pull, give:take,
    buy:sell, love:hate, laugh:cry, win:lose, live:die, come:go, front:back, inside:outside, above:below, over:under,
    before:after, always:never, more:less, many:few, all:none, everything:nothing, north:south, east:west, top:bottom,
    man:woman, boy:girl, king:queen, brother:sister, mother:father, husband:wife, uncle:aunt, friend:enemy, war:peace,
    sweet:sour, sharp:blunt, smooth:rough, brave:afraid, kind:cruel, polite:rude, careful:careless, safe:dangerous,
    cheap:expensive, beautiful:ugly, clever:stupid, simple:complicated, same:different, alive:dead, asleep:awake,
    sick:healthy, fat:thin, straight:crooked, tight:loose, fresh:stale, raw:cooked, public:private, possible:impossible,
    arrive:leave, remember:forget, find:lose, build:destroy, float:sink, rise:fall, lend:borrow, question:answer,
    winter:summer, sunrise:sunset, guilty:innocent, lazy:busy, lucky:unlucky, modern:ancient, maximum:minimum, plus:minus,
    add:subtract, teach:learn, sit:stand, enter:exit, success:failure, hope:despair, heaven:hell, solid:liquid"""
)
BACKWARDS = table(
    """cold:hot, small:big, short:tall, slow:fast, sad:happy, bad:good, night:day, down:up, out:in, off:on, closed:open,
    empty:full, soft:hard, dry:wet, dirty:clean, weak:strong, poor:rich, old:young, late:early, dark:light, thin:thick,
    narrow:wide, shallow:deep, far:near, wrong:right, false:true, no:yes, white:black, quiet:loud, difficult:easy, low:high,
    last:first, end:begin, stop:start, pull:push, take:give, sell:buy, hate:love, cry:laugh, lose:win, die:live, go:come,
    back:front, outside:inside, below:above, under:over, after:before, never:always, less:more, few:many, none:all,
    nothing:everything, south:north, west:east, bottom:top, woman:man, girl:boy, queen:king, sister:brother, father:mother,
    wife:husband, aunt:uncle, enemy:friend, peace:war, sour:sweet, rough:smooth, cruel:kind, rude:polite,
    dangerous:safe, expensive:cheap, ugly:beautiful, different:same, dead:alive, awake:asleep, healthy:sick, loose:tight,
    private:public, impossible:possible, leave:arrive, forget:remember, destroy:build, sink:float, fall:rise, borrow:lend,
    answer:question, summer:winter, learn:teach, stand:sit, exit:enter, failure:success, minimum:maximum, minus:plus"""
)
ALSO_OPPOSITE = table(
    """hard:easy, light:heavy, dark:bright, old:new, short:long, thin:fat, right:left, fast:slow, brave:cowardly, lazy:active,
    sad:glad, quick:slow, high:deep, begin:finish, end:start, open:shut, poor:wealthy, sharp:dull, clever:dumb, near:distant"""
)
