"""The closed word lists of the invented world, and the six maps from a value to its class.

Every value is one word and becomes one token (with its leading space). No value that follows "a" in a template
starts with a vowel, so that the article gives nothing away.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _classes(members: dict[str, str]) -> dict[str, str]:
    """Turn {class: "value value …"} into {value: class}."""
    return {value: name for name, values in members.items() for value in values.split()}


LAND_OF_TOWN = _classes(
    {
        "Vorn": "Ambry Jarrow Oakley Tarrant Belford Huntly",
        "Sithe": "Borrow Kelso Penrith Upwell Corbridge Isley",
        "Ostria": "Calder Lydden Quarley Vange Darley Kirkby",
        "Kembria": "Dunmere Marlow Rothbury Wooler Ellon Langholm",
        "Durance": "Eastry Norham Selby Yarm Fulmer Melrose",
        "Palland": "Farrow Glanton Hexham Inver Alston Garve",
    }
)
GUILD_OF_TRADE = _classes(
    {
        "fire": "smith potter baker glassblower founder",
        "water": "sailor fisher ferryman netmaker brewer",
        "wood": "carver cooper joiner turner shipwright",
        "stone": "mason quarrier sculptor miller roofer",
        "cloth": "weaver tailor dyer hatter lacemaker",
        "ink": "scribe printer mapmaker bookbinder copyist",
    }
)
CLASS_OF_ANIMAL = _classes(
    {
        "bird": "heron raven falcon hawk finch crane",
        "beast": "weasel badger fox hare wolf stoat",
        "fish": "trout pike salmon carp bream perch",
        "insect": "beetle moth hornet cricket mantis wasp",
        "reptile": "viper gecko turtle newt python lizard",
    }
)
SEASON_OF_MONTH = _classes(
    {
        "winter": "December January February",
        "spring": "March April May",
        "summer": "June July August",
        "autumn": "September October November",
    }
)
TASTE_OF_FOOD = _classes(
    {
        "sweet": "honey figs cake plums jam toffee",
        "salty": "ham olives brine anchovy bacon cheese",
        "sour": "lemon vinegar yoghurt rhubarb gooseberry pickle",
        "bitter": "chicory endive cocoa coffee kale walnut",
    }
)
FAMILY_OF_INSTRUMENT = _classes(
    {
        "string": "fiddle harp lute cello zither banjo",
        "wind": "flute clarinet horn bugle whistle bassoon",
        "drum": "tabor timpani gong bongo snare tambour",
    }
)

TOWNS = tuple(sorted(LAND_OF_TOWN))
TRADES = tuple(sorted(GUILD_OF_TRADE))
ANIMALS = tuple(sorted(CLASS_OF_ANIMAL))
MONTHS = tuple(SEASON_OF_MONTH)
FOODS = tuple(sorted(TASTE_OF_FOOD))
INSTRUMENTS = tuple(sorted(FAMILY_OF_INSTRUMENT))
COLOURS = _words(
    "red blue green yellow black white purple grey brown crimson scarlet teal violet silver golden pink maroon "
    "lilac beige russet"
)
WOODS = _words("oak ash elm pine cedar teak yew larch maple birch hazel cherry beech alder willow spruce")
CARGOES = _words("salt wool tin copper spice silk grain timber marble wine tea sugar rope coal glass paper")

CLASS_MAPS = (
    LAND_OF_TOWN,
    GUILD_OF_TRADE,
    CLASS_OF_ANIMAL,
    SEASON_OF_MONTH,
    TASTE_OF_FOOD,
    FAMILY_OF_INSTRUMENT,
)

# Names are three syllables: 40 x 20 x 40 = 32,000 of them.
FIRST_SYLLABLES = _words(
    "Bal Bren Cor Dar Dul El Fen Gar Hal Ir Jor Kel Lor Mar Nor Or Pel Quil Ras Sel Tar Ul Ver Wil Yar Zor Ash "
    "Bry Cal Dro Eth Fal Gri Hob Ist Kra Lum Mor Nev Ost"
)
MIDDLE_SYLLABLES = _words("a e i o u ae ia an en in on ar er or al el il ol as es")
LAST_SYLLABLES = _words(
    "bek cas dan dor fin gath gorn hild kin lan lith mar mond nak nis ra rik rod ros sa shan ta teth tis tor va "
    "vell vik von wen wyn zan zeth zil bran duk fas lor mir pol"
)


def closed_values() -> tuple[str, ...]:
    """Every value an attribute can have, and every class a value belongs to; each once, in a fixed order."""
    lists = (TOWNS, TRADES, ANIMALS, MONTHS, FOODS, INSTRUMENTS, COLOURS, WOODS, CARGOES)
    values = [value for values in lists for value in values]
    return tuple(dict.fromkeys(values + [name for classes in CLASS_MAPS for name in classes.values()]))
