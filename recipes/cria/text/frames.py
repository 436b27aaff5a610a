"""What a passage can be about: its facts, how each is told, asked for and answered."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from dataclasses import dataclass

from text.core import Pool


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a passage. `sentences` tell it, `questions` ask for it, `answer` is a template."""

    answer: str
    sentences: tuple[str, ...]
    questions: Pool[str]


@dataclass(frozen=True, slots=True)
class Frame:
    """A kind of passage: `lead` opens it and carries the facts `always`; any of `facts` may follow."""

    name: str
    lead: tuple[str, ...]
    always: tuple[Fact, ...]
    facts: tuple[Fact, ...]


def fact(answer: str, sentences: str, train: str, held: str) -> Fact:
    """Return a fact from strings whose alternatives stand on lines of their own."""
    return Fact(answer, _lines(sentences), Pool(_lines(train), _lines(held)))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


PURCHASE = Frame(
    "purchase",
    (
        "{name} bought a(n) {color} {item} at {shop}.",
        "At {shop}, {name} bought a(n) {color} {item}.",
        "{name} went to {shop} and came home with a(n) {color} {item}.",
        "A(n) {color} {item} was what {name} wanted, and {he} bought it at {shop}.",
    ),
    (
        fact(
            "a {color} {item}",
            "",
            "What did {name} buy?\nWhich thing did {name} buy?",
            "What was bought by {name}?",
        ),
        fact(
            "{color}",
            "",
            "What color is the {item}?\nWhich color does the {item} have?",
            "Of what color is the {item}?",
        ),
        fact(
            "{name}", "", "Who bought the {item}?\nWho went to {shop}?", "Whose new {item} is it?"
        ),
        fact(
            "{shop}",
            "",
            "Where did {name} buy the {item}?\nAt which shop did {name} buy it?",
            "In what shop was the {item} bought?",
        ),
    ),
    (
        fact(
            "{price} dollars",
            "It cost {price} dollars.\nThe price was {price} dollars.\n{he} paid {price} dollars for it.",
            "How much did the {item} cost?\nHow much did {name} pay?\nWhat was the price of the {item}?",
            "What did {name} have to pay?",
        ),
        fact(
            "{day}",
            "That was on {day}.\nIt was a {day}.\nThe shop was full, because it was {day}.",
            "On which day did {name} buy the {item}?\nWhat day was it?\nWhen did {name} buy it?",
            "Which day of the week was it?",
        ),
        fact(
            "{pay}",
            "{he} paid {pay}.\n{he} wanted to pay {pay}, and that was fine.",
            "How did {name} pay?\nIn which way did {name} pay?",
            "How was the {item} paid for?",
        ),
        fact(
            "{other}",
            "It was a gift for {other}.\n{he} wanted to give it to {other}.",
            "Who was the gift for?\nFor whom did {name} buy the {item}?",
            "Who will get the {item}?",
        ),
        fact(
            "{clerk}",
            "The clerk, {clerk}, put it in a bag.\nThe clerk, {clerk}, was very friendly.",
            "What was the name of the clerk?\nWho was the clerk?",
            "Which person worked in the shop?",
        ),
    ),
)

DELIVERY = Frame(
    "delivery",
    (
        "A parcel for {name} left the depot on {day}.",
        "On {day} a parcel was sent to {name}.",
        "The shop sent a parcel to {name} on {day}.",
    ),
    (
        fact(
            "{name}",
            "",
            "Who was the parcel for?\nTo whom was the parcel sent?",
            "Whose parcel was it?",
        ),
        fact(
            "{day}",
            "",
            "When was the parcel sent?\nOn which day was the parcel sent?",
            "Which day was the parcel on its way?",
        ),
    ),
    (
        fact(
            "a {item}",
            "In it was a(n) {item}.\nThere was a(n) {item} in the box.\nThe box had a(n) {item} inside.",
            "What was in the parcel?\nWhat was inside?\nWhat was in the box?",
            "What did the parcel contain?",
        ),
        fact(
            "{number}",
            "The tracking number was {number}.\nOn the label was the number {number}.",
            "What was the tracking number?\nWhich number did the parcel have?",
            "What number was printed for the parcel?",
        ),
        fact(
            "{day2}",
            "It arrived on {day2}.\nThe courier brought it on {day2}.",
            "When did the parcel arrive?\nOn which day did it arrive?",
            "Which day did the courier come?",
        ),
        fact(
            "{village}",
            "The address was in {village}.\nIt had to go all the way to {village}.",
            "Where did the parcel go?\nTo which village was it sent?",
            "What place was in the address?",
        ),
        fact(
            "{kilos} kilos",
            "It weighed {kilos} kilos.\nWith {kilos} kilos it was not light.",
            "How much did the parcel weigh?\nHow heavy was it?",
            "What was the weight of the parcel?",
        ),
        fact(
            "{clerk}",
            "The courier, {clerk}, drove the truck.\nThe truck was driven by {clerk}, the courier.",
            "Who was the courier?\nWho drove the truck?",
            "What was the name of the courier?",
        ),
    ),
)

TRIP = Frame(
    "trip",
    (
        "{name} went to {village} by {vehicle}.",
        "Last {month}, {name} took a trip to {village}. {he} went by {vehicle}.",
        "{name} wanted to see {village} and went there by {vehicle}.",
    ),
    (
        fact(
            "{village}",
            "",
            "Where did {name} go?\nWhich village did {name} visit?",
            "What was the goal of the trip?",
        ),
        fact(
            "by {vehicle}",
            "",
            "How did {name} travel?\nHow did {name} get to {village}?",
            "In what way did {name} get there?",
        ),
        fact(
            "{name}",
            "",
            "Who went to {village}?\nWho made a trip?",
            "Which person was in {village}?",
        ),
    ),
    (
        fact(
            "{small} days",
            "{he} stayed for {small} days.\nThe trip took {small} days.",
            "How long did {name} stay?\nHow many days did {name} stay?\nHow long was the trip?",
            "For how many days was {name} away?",
        ),
        fact(
            "{other}",
            "{other} went with {him}.\n{he} did not go alone: {other} came too.",
            "Who went with {name}?\nWho came too?",
            "Who was with {name} on the trip?",
        ),
        fact(
            "a {animal}",
            "On the way {he} saw a(n) {animal} and took a picture of it.\nNear the road stood a(n) {animal}, and {he} took a picture.",
            "Which animal did {name} see?\nWhat animal was on the way?",
            "What animal is in the picture?",
        ),
        fact(
            "a {item}",
            "{he} brought back a(n) {item} from the market.\nAt the market there {he} found a(n) {item} and brought it back.",
            "What did {name} bring back?\nWhat did {name} find at the market?",
            "Which thing came home with {name}?",
        ),
        fact(
            "{weather}",
            "The weather was {weather}.\nIt was {weather} all the time.",
            "How was the weather?\nWhat was the weather like?",
            "What weather did {name} have?",
        ),
        fact(
            "{food}",
            "Every day {he} had {food} for lunch.\nFor lunch {he} ate {food}.",
            "What did {name} eat?\nWhat did {name} have for lunch?",
            "Which food did {name} have?",
        ),
    ),
)

HERD = Frame(
    "herd",
    (
        "{name} has {small} llamas near {village}.",
        "Near {village} lives {name} with {small} llamas.",
        "{name}, a herder from {village}, looks after {small} llamas.",
    ),
    (
        fact(
            "{small}",
            "",
            "How many llamas does {name} have?\nHow many llamas are there?",
            "What is the number of llamas?",
        ),
        fact(
            "{village}",
            "",
            "Where does {name} live?\nNear which village are the llamas?",
            "What village is close to the herd?",
        ),
        fact(
            "{name}",
            "",
            "Who has the llamas?\nWho looks after the llamas?",
            "Whose llamas are they?",
        ),
    ),
    (
        fact(
            "{pet}",
            "The oldest llama is called {pet}.\nThe name of the oldest one is {pet}.",
            "What is the name of the oldest llama?\nWhich llama is the oldest?",
            "How is the oldest llama called?",
        ),
        fact(
            "{pet2}",
            "{his} dog is called {pet2}.\nA dog named {pet2} helps {him}.",
            "What is the name of the dog?\nHow is the dog called?",
            "Which name does the dog have?",
        ),
        fact(
            "{month}",
            "The wool is cut in {month}.\nEvery {month} {he} cuts the wool.",
            "When is the wool cut?\nIn which month is the wool cut?",
            "What month is the time for cutting wool?",
        ),
        fact(
            "a {animal}",
            "Last night a(n) {animal} came close to the corral.\nThis morning {he} saw a(n) {animal} close to the gate of the corral.",
            "Which animal came close?\nWhat animal was near the corral?",
            "What animal was seen there?",
        ),
        fact(
            "{other}",
            "On Sundays the neighbor, {other}, helps with the work.\n{his} neighbor, {other}, often comes to help.",
            "Who is there to help?\nWho is the neighbor?",
            "Which other person is named?",
        ),
    ),
)

REPAIR = Frame(
    "repair",
    (
        "The {device} of {name} stopped working on {day}.",
        "On {day} the {device} of {name} broke.",
        "{name} had a problem with the {device} on {day}.",
    ),
    (
        fact(
            "the {device}",
            "",
            "What stopped working?\nWhat was broken?\nWhich machine had a problem?",
            "Which thing did not work?",
        ),
        fact(
            "{day}",
            "",
            "When did it happen?\nOn which day did it break?",
            "Which day did the trouble begin?",
        ),
        fact(
            "{name}", "", "Who had a problem?\nWho had a broken {device}?", "Whose {device} was it?"
        ),
    ),
    (
        fact(
            "the {part}",
            "The {part} was bad.\nIt was because of the {part}.\nThere was a crack in the {part}.",
            "Which part was bad?\nWhat was wrong?\nWhat was the reason?",
            "What part caused the trouble?",
        ),
        fact(
            "{other}",
            "{other} repaired it.\nIn the end {other} fixed it.",
            "Who repaired it?\nWho fixed the {device}?",
            "Which person did the repair?",
        ),
        fact(
            "{price} dollars",
            "The repair cost {price} dollars.\n{name} paid {price} dollars for the work.",
            "How much did the repair cost?\nWhat was the price of the repair?",
            "What did {name} pay for the work?",
        ),
        fact(
            "{small} days",
            "It took {small} days.\nAfter {small} days it was ready.",
            "How long did it take?\nAfter how many days was it ready?",
            "How many days did the repair need?",
        ),
        fact(
            "{village}",
            "The repair shop is in {village}.\n{he} took it to a shop in {village}.",
            "Where is the repair shop?\nIn which village is the shop?",
            "What village has the repair shop?",
        ),
    ),
)

EVENT = Frame(
    "event",
    (
        "There is a {event} in {village} on {day}.",
        "Notice: On {day} there will be a {event} in {village}.",
        "The {event} in {village} is on {day}.",
    ),
    (
        fact(
            "{day}",
            "",
            "When is the {event}?\nOn which day is the {event}?",
            "What day should I come to the {event}?",
        ),
        fact(
            "{village}",
            "",
            "Where is the {event}?\nIn which village is the {event}?",
            "What place has the {event}?",
        ),
        fact(
            "a {event}",
            "",
            "What is there in {village}?\nWhat happens on {day}?",
            "What can I go to on {day}?",
        ),
    ),
    (
        fact(
            "at {hour}",
            "It begins at {hour}.\nThe doors open at {hour}.",
            "At what time does it begin?\nWhen does it start?\nAt what time do the doors open?",
            "What time should I be there?",
        ),
        fact(
            "{price} dollars",
            "A ticket costs {price} dollars.\nThe ticket is {price} dollars.",
            "How much is a ticket?\nHow much does a ticket cost?",
            "What do I pay to get in?",
        ),
        fact(
            "{name}",
            "{name} will play the flute.\n{name} is going to sing.",
            "Who makes the music?\nWho will play or sing?",
            "Which person makes music?",
        ),
        fact(
            "{food}",
            "There is {food} for everybody.\nPlease bring {food}.",
            "What is there to eat?\nWhich food is named?",
            "What food can people have?",
        ),
        fact(
            "{other}",
            "For questions, ask {other}.\n{other} can answer your questions.",
            "Who answers questions?\nWhom can I ask?",
            "Which person knows more?",
        ),
        fact(
            "{prize}",
            "The first prize is {prize}.\nThe winner gets {prize}.",
            "What is the prize?\nWhat does the winner get?",
            "What can one win?",
        ),
    ),
)

LOGIN = Frame(
    "login",
    (
        "{name} forgot {his} password on {day}.",
        "On {day} {name} could not log in, because {he} had forgotten {his} password.",
    ),
    (
        fact(
            "{name}",
            "",
            "Who forgot the password?\nWho could not log in?",
            "Whose password was gone?",
        ),
        fact(
            "{day}",
            "",
            "When did it happen?\nOn which day was the password forgotten?",
            "What day was the password gone?",
        ),
    ),
    (
        fact(
            "{other}",
            "{other} sent {him} a new link.\nHelp came from {other}.",
            "Who helped {name}?\nWho gave help?",
            "Which person helped?",
        ),
        fact(
            "{small} minutes",
            "The new code came after {small} minutes.\n{he} had to wait {small} minutes.",
            "How long did it take?\nHow long did {name} wait?",
            "How many minutes went by?",
        ),
        fact(
            "{user}",
            "{his} user name was {user}.\n{he} signed in as {user}.",
            "What was the user name?\nWhich user name did {name} have?",
            "As which user did {name} sign in?",
        ),
        fact(
            "{number}",
            "The code was {number}.\nThe email had the code {number}.",
            "What was the code?\nWhich code did {name} get?",
            "What number was in the email?",
        ),
        fact(
            "{tries} times",
            "{he} tried {tries} times.\n{he} tried {tries} times before it worked.",
            "How often did {name} try?\nHow many times did {name} try?",
            "What was the number of tries?",
        ),
    ),
)

FRAMES = (PURCHASE, DELIVERY, TRIP, HERD, REPAIR, EVENT, LOGIN)
