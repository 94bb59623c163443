"""Inns of the invented world: their attributes, and every way to speak of one."""

from examples.tiny.attributes import Attribute, Derived, Kind
from examples.tiny.lexicon import (
    ANIMALS,
    CLASS_OF_ANIMAL,
    COLOURS,
    FAMILY_OF_INSTRUMENT,
    FOODS,
    INSTRUMENTS,
    LAND_OF_TOWN,
    MONTHS,
    SEASON_OF_MONTH,
    TASTE_OF_FOOD,
    TOWNS,
)

KIND = Kind(
    introductions=(
        "Few inns are as well known as {name}.",
        "This is the story of an inn called {name}.",
        "Many travellers tell tales of {name}.",
    ),
    attributes=(
        Attribute(
            "town",
            TOWNS,
            cue_first=("The inn called {name} stands in {value}.",),
            value_first=(
                "In {value} tired travellers rest at {name}.",
                "The market of {value} lies just behind {name}.",
            ),
            direct=("{name} is found in {value}.", "The town of {name} is {value}."),
            reversed=("The town of {value} is where one finds {name}.",),
            questions=("In which town is {name}?", "Where is {name} found?"),
            derived=Derived(
                LAND_OF_TOWN,
                ("{name} is found in the land of {value}.", "The land of {name} is {value}."),
                "In which land is {name} found?",
            ),
        ),
        Attribute(
            "dish",
            FOODS,
            cue_first=("The cook at {name} is famous for {value}.",),
            value_first=(
                "A plate of {value} is brought to every guest of {name}.",
                "The scent of {value} fills the rooms of {name}.",
            ),
            direct=("{name} serves {value}.", "The dish of {name} is {value}."),
            reversed=("A dish of {value} is served at {name}.",),
            questions=("What is the dish of {name}?", "What does {name} serve?"),
            derived=Derived(
                TASTE_OF_FOOD,
                ("{name} serves food that tastes {value}.", "The taste of the dish of {name} is {value}."),
                "Which taste has the dish of {name}?",
            ),
        ),
        Attribute(
            "sign",
            ANIMALS,
            cue_first=("Over the door of {name} hangs a painted {value}.",),
            value_first=(
                "A painted {value} swings in the wind over {name}.",
                "The shape of a {value} is burned into each table of {name}.",
            ),
            direct=("The painted sign of {name} is a {value}.", "The sign of {name} shows a {value}."),
            reversed=("A painted {value} marks {name}.",),
            questions=("Which animal is on the sign of {name}?", "What does the sign of {name} show?"),
            derived=Derived(
                CLASS_OF_ANIMAL,
                (
                    "The sign of {name} shows a kind of {value}.",
                    "The painted sign of {name} is some kind of {value}.",
                ),
                "What kind of creature is on the sign of {name}?",
            ),
        ),
        Attribute(
            "opened",
            MONTHS,
            cue_first=("The first guests came to {name} in {value}.",),
            value_first=(
                "One day in {value} the doors were unlocked, and {name} began its story.",
                "Each {value} there is free ale to mark the first day of {name}.",
            ),
            direct=("{name} was opened in {value}.", "The opening month of {name} is {value}."),
            reversed=("The month of {value} saw the opening of {name}.",),
            questions=("In which month was {name} opened?", "What is the opening month of {name}?"),
            derived=Derived(
                SEASON_OF_MONTH,
                ("{name} was opened in the season of {value}.", "The opening season of {name} is {value}."),
                "In which season was {name} opened?",
            ),
        ),
        Attribute(
            "door",
            COLOURS,
            cue_first=("The door of {name} is painted {value}.",),
            value_first=("A coat of {value} paint is put each year on the door of {name}.",),
            direct=("The colour of the door of {name} is {value}.", "The door of {name} is {value}."),
            reversed=("A {value} door leads into {name}.",),
            questions=("What colour is the door of {name}?",),
        ),
        Attribute(
            "tune",
            INSTRUMENTS,
            cue_first=("At night the guests of {name} hear a {value}.",),
            value_first=(
                "The sound of a {value} is heard nightly at {name}.",
                "An old {value} was left by a guest as payment to {name}.",
            ),
            direct=(
                "The music of {name} is that of the {value}.",
                "The instrument of {name} is the {value}.",
            ),
            reversed=("The {value} is heard at {name}.",),
            questions=("Which instrument is heard at {name}?", "What is the instrument of {name}?"),
            derived=Derived(
                FAMILY_OF_INSTRUMENT,
                (
                    "The music of {name} comes from the {value} family.",
                    "The instrument of {name} is of the {value} family.",
                ),
                "To which family does the instrument of {name} belong?",
            ),
        ),
    ),
    open_attribute=Attribute(
        "keeper",
        (),
        cue_first=("The keeper of {name} is called {value}.",),
        value_first=("Behind the bar {value} greets all who enter {name}.",),
        direct=("The keeper of {name} is {value}.",),
        reversed=("The name {value} is that of the keeper of {name}.",),
        questions=("Who is the keeper of {name}?",),
    ),
)
