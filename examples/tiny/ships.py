"""Ships of the invented world: their attributes, and every way to speak of one."""

from examples.tiny.attributes import Attribute, Derived, Kind
from examples.tiny.lexicon import (
    ANIMALS,
    CARGOES,
    CLASS_OF_ANIMAL,
    COLOURS,
    LAND_OF_TOWN,
    MONTHS,
    SEASON_OF_MONTH,
    TOWNS,
    WOODS,
)

KIND = Kind(
    introductions=(
        "Few ships are as well known as {name}.",
        "This is the story of a ship called {name}.",
        "Many sailors tell tales of {name}.",
    ),
    attributes=(
        Attribute(
            "port",
            TOWNS,
            cue_first=("The home port of {name} is {value}.",),
            value_first=(
                "In {value} the crew of {name} go ashore to their families.",
                "The quays of {value} were built with room for {name}.",
            ),
            direct=("{name} sails from {value}.", "The port of {name} is {value}."),
            reversed=("The town of {value} is the port of {name}.",),
            questions=("From which port does {name} sail?", "What is the port of {name}?"),
            derived=Derived(
                LAND_OF_TOWN,
                ("{name} sails from the land of {value}.", "The land of {name} is {value}."),
                "From which land does {name} sail?",
            ),
        ),
        Attribute(
            "figure",
            ANIMALS,
            cue_first=("On the bow of {name} is carved a {value}.",),
            value_first=(
                "A carved {value} looks over the waves from the bow of {name}.",
                "The shape of a {value} was cut by hand for {name}.",
            ),
            direct=("The bow of {name} shows a {value}.", "The figurehead of {name} is a {value}."),
            reversed=("A carved {value} leads {name}.",),
            questions=("What is the figurehead of {name}?", "Which animal is the figurehead of {name}?"),
            derived=Derived(
                CLASS_OF_ANIMAL,
                (
                    "The figurehead of {name} is a kind of {value}.",
                    "The bow of {name} shows some kind of {value}.",
                ),
                "What kind of creature is the figurehead of {name}?",
            ),
        ),
        Attribute(
            "launch",
            MONTHS,
            cue_first=("The launch of {name} took place in {value}.",),
            value_first=(
                "One day in {value} a great crowd saw {name} touch the water.",
                "Each {value} the crew drink to the day {name} first floated.",
            ),
            direct=("{name} was launched in {value}.", "The launch month of {name} is {value}."),
            reversed=("The month of {value} saw the launch of {name}.",),
            questions=("In which month was {name} launched?", "What is the launch month of {name}?"),
            derived=Derived(
                SEASON_OF_MONTH,
                ("{name} was launched in the season of {value}.", "The launch season of {name} is {value}."),
                "In which season was {name} launched?",
            ),
        ),
        Attribute(
            "sail",
            COLOURS,
            cue_first=("The sails of {name} are dyed {value}.",),
            value_first=("A patch of {value} on the horizon means the sails of {name}.",),
            direct=("The colour of the sails of {name} is {value}.", "The sails of {name} are {value}."),
            reversed=("Sails of {value} are flown by {name}.",),
            questions=("What colour are the sails of {name}?",),
        ),
        Attribute(
            "hull",
            WOODS,
            cue_first=("The hull of {name} is built of {value}.",),
            value_first=("A whole forest of {value} was felled to build {name}.",),
            direct=("{name} is made of {value}.", "The wood of {name} is {value}."),
            reversed=("Planks of {value} make up {name}.",),
            questions=("Which wood is {name} made of?", "What is the wood of {name}?"),
        ),
        Attribute(
            "cargo",
            CARGOES,
            cue_first=("The hold of {name} is filled with {value}.",),
            value_first=("Sacks of {value} wait on the shore for {name}.",),
            direct=("{name} carries {value}.", "The cargo of {name} is {value}."),
            reversed=("A load of {value} is carried by {name}.",),
            questions=("What is the cargo of {name}?", "What does {name} carry?"),
        ),
    ),
    open_attribute=Attribute(
        "captain",
        (),
        cue_first=("The captain of {name} is called {value}.",),
        value_first=("At the wheel {value} gives orders to all aboard {name}.",),
        direct=("The captain of {name} is {value}.",),
        reversed=("The name {value} is that of the captain of {name}.",),
        questions=("Who is the captain of {name}?",),
    ),
)
