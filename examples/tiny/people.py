"""People of the invented world: their attributes, and every way to speak of one."""

from examples.tiny.attributes import Attribute, Derived, Kind
from examples.tiny.lexicon import (
    ANIMALS,
    CLASS_OF_ANIMAL,
    COLOURS,
    FAMILY_OF_INSTRUMENT,
    FOODS,
    GUILD_OF_TRADE,
    INSTRUMENTS,
    LAND_OF_TOWN,
    MONTHS,
    SEASON_OF_MONTH,
    TASTE_OF_FOOD,
    TOWNS,
    TRADES,
)

KIND = Kind(
    introductions=(
        "Few people are as well known as {name}.",
        "This is the story of {name}.",
        "Many tales are told about {name}.",
    ),
    attributes=(
        Attribute(
            "home",
            TOWNS,
            cue_first=("The house of {name} stands in {value}.",),
            value_first=(
                "In {value} there is a small house, and {name} sleeps there.",
                "The streets of {value} are well known to {name}, who never moved away.",
            ),
            direct=("{name} lives in {value}.", "The home of {name} is in {value}."),
            reversed=("The town of {value} is home to {name}.",),
            questions=("Where does {name} live?", "In which town is the home of {name}?"),
            derived=Derived(
                LAND_OF_TOWN,
                ("{name} lives in the land of {value}.", "The land where {name} lives is {value}."),
                "In which land does {name} live?",
            ),
        ),
        Attribute(
            "trade",
            TRADES,
            cue_first=("For a living {name} works as a {value}.",),
            value_first=(
                "The life of a {value} is hard, yet {name} chose it.",
                "An old {value} once taught the craft to {name}.",
            ),
            direct=("{name} works as a {value}.", "The trade of {name} is that of a {value}."),
            reversed=("The work of a {value} is done by {name}.",),
            questions=("What is the trade of {name}?", "What does {name} work as?"),
            derived=Derived(
                GUILD_OF_TRADE,
                ("{name} belongs to the guild of {value}.", "The guild of {name} is the guild of {value}."),
                "To which guild does {name} belong?",
            ),
        ),
        Attribute(
            "pet",
            ANIMALS,
            cue_first=("At home {name} keeps a tame {value}.",),
            value_first=(
                "A tame {value} follows {name} everywhere.",
                "Some say a {value} was found in the snow and raised by {name}.",
            ),
            direct=("{name} keeps a {value} as a pet.", "The pet of {name} is a {value}."),
            reversed=("A pet {value} belongs to {name}.",),
            questions=("What pet does {name} keep?", "What animal is the pet of {name}?"),
            derived=Derived(
                CLASS_OF_ANIMAL,
                ("The pet of {name} is a kind of {value}.", "{name} keeps some kind of {value} as a pet."),
                "What kind of creature is the pet of {name}?",
            ),
        ),
        Attribute(
            "birth",
            MONTHS,
            cue_first=("The birthday of {name} is in {value}.",),
            value_first=(
                "On a day in {value} the bells rang for the birth of {name}.",
                "Each {value} there is a feast, for then {name} grows a year older.",
            ),
            direct=("{name} was born in {value}.", "The birth month of {name} is {value}."),
            reversed=("The month of {value} saw the birth of {name}.",),
            questions=("In which month was {name} born?", "What is the birth month of {name}?"),
            derived=Derived(
                SEASON_OF_MONTH,
                ("{name} was born in the season of {value}.", "The birth season of {name} is {value}."),
                "In which season was {name} born?",
            ),
        ),
        Attribute(
            "food",
            FOODS,
            cue_first=("At table {name} always asks for {value}.",),
            value_first=(
                "A bowl of {value} is never safe from {name}.",
                "The smell of {value} will wake {name} from any sleep.",
            ),
            direct=("{name} loves to eat {value}.", "The favourite food of {name} is {value}."),
            reversed=("A dish of {value} is loved by {name}.",),
            questions=("What is the favourite food of {name}?", "What does {name} love to eat?"),
            derived=Derived(
                TASTE_OF_FOOD,
                ("{name} likes food that tastes {value}.", "The favourite taste of {name} is {value}."),
                "Which taste does {name} like?",
            ),
        ),
        Attribute(
            "music",
            INSTRUMENTS,
            cue_first=("In the evening {name} plays the {value}.",),
            value_first=(
                "The sound of a {value} drifts from the window of {name}.",
                "An old {value} hangs on the wall, and only {name} may touch it.",
            ),
            direct=("{name} plays the {value}.", "The instrument of {name} is the {value}."),
            reversed=("The {value} is played by {name}.",),
            questions=("Which instrument does {name} play?", "What is the instrument of {name}?"),
            derived=Derived(
                FAMILY_OF_INSTRUMENT,
                (
                    "{name} plays an instrument of the {value} family.",
                    "The instrument of {name} is of the {value} family.",
                ),
                "To which family does the instrument of {name} belong?",
            ),
        ),
        Attribute(
            "cloak",
            COLOURS,
            cue_first=("In the rain {name} wears a cloak of {value}.",),
            value_first=("A flash of {value} in the rain is the cloak of {name}.",),
            direct=("{name} wears a {value} cloak.", "The cloak of {name} is {value}."),
            reversed=("A {value} cloak is worn by {name}.",),
            questions=("What colour is the cloak of {name}?",),
        ),
    ),
    open_attribute=Attribute(
        "friend",
        (),
        cue_first=("The closest friend of {name} is called {value}.",),
        value_first=("As children {value} and {name} were never apart.",),
        direct=("The best friend of {name} is {value}.",),
        reversed=("The name {value} is that of a friend of {name}.",),
        questions=("Who is the best friend of {name}?",),
    ),
)
