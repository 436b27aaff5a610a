"""What a short text is about, with the choices given: weather, food, animals and other plain things.

Nothing here is about shops, parcels, payments, logins or machines: that is left to later tuning.
"""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.core import Draw, Pool, Sample, Skill, sample, sentence_case
from text.words import FOODS, GRASSLAND_ANIMALS, NAMES, OTHER_ANIMALS, PEOPLE, VILLAGES


def _side(train: str, held: str) -> Pool[str]:
    def lines(text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    return Pool(lines(train), lines(held))


TOPICS: dict[str, Pool[str]] = {
    "weather": _side(
        """It <rained|snowed> all night in {village}.
        The wind was <strong|very cold|warm> this morning.
        Dark clouds came over the hill, and then the thunder began.
        Tomorrow it will be sunny and warm.
        The fog was so thick that {name} could not see the road.
        There was frost on every window.
        We have had no rain for {few} weeks.
        A storm is on its way to {village}.""",
        """The sun did not come out for {few} days.
        Hail fell on the roofs of {village}.
        It is much colder than last week.""",
    ),
    "food": _side(
        """{name} cooked a big pot of soup.
        We had {food} for lunch, and it tasted good.
        There is fresh bread on the table.
        {name} is hungry and eats {few} potatoes.
        For breakfast I like eggs and warm milk.
        The cake was sweet, and everybody took a second piece.
        {name} put too much salt into the rice.
        Dinner is ready, and there is {food} for all.""",
        """The soup needs a little more pepper.
        {name} baked {few} small pies for supper.
        I could eat {food} every day.""",
    ),
    "animals": _side(
        """The {animal} <slept in the grass|ran over the hill|drank from the stream>.
        {name} saw <a young|an old> {animal} with {few} little ones.
        The dog of {name} is afraid of the {animal}.
        In the evening the {animal} came back to its mother.
        A(n) {animal} has lived near {village} for years.
        The {animal} hums when it is happy.
        {name} counts the sheep every evening.
        The birds fly south in autumn.""",
        """Nobody knows where the {animal} sleeps.
        {few} ducks swim on the lake of {village}.
        The {animal} licked the hand of {name}.""",
    ),
    "music": _side(
        """{name} plays the <flute|drum|guitar> in {village}.
        They sang {few} songs until late at night.
        The song was slow and sad.
        {name} dances to every tune.
        The band has a new singer.
        I can hear a drum far away.
        The choir of {village} sings on Sunday.
        {name} learned to play the piano at six.""",
        """The melody went around in the head of {name}.
        They clapped and asked for one more tune.
        {name} writes songs and hums them.""",
    ),
    "school": _side(
        """The teacher wrote {few} words on the board.
        {name} forgot the homework at home.
        The children read a page and then write a text.
        Today the class learns how to add numbers.
        The pupils of {village} have a test on Friday.
        {name} sits in the first row and listens to the lesson.
        In the break all the children run into the yard.
        {name} got the best mark of the class.""",
        """The pupils raise their hands.
        {name} studies for the test every evening.
        There are {few} children in the classroom.""",
    ),
    "travel": _side(
        """{name} took the early train to {village}.
        We stayed in {village} for {few} days.
        The bus to {village} goes over a high pass.
        {name} has packed a bag for the long trip.
        It is {few} hours by boat to the island.
        They walked from {village} to the sea.
        {name} sent a postcard from far away.
        The travelers slept in a tent.""",
        """The journey to {village} took {few} days.
        {name} looks at the map and plans the next tour.
        We crossed {few} bridges on our way.""",
    ),
    "family": _side(
        """{name} has {few} brothers and one sister.
        The baby of {name} is asleep.
        My grandmother is eighty years old today.
        {name} and {other} were married in {village}.
        The twins look just like their mother.
        Uncle {name} has come with all my cousins.
        {name} misses father and mother.
        All the children of {name} live in {village}.""",
        """{name} is the youngest of {few} sisters.
        My parents met in {village}.
        The son of {name} learned to walk.""",
    ),
    "farm": _side(
        """{name} cut the hay before the rain.
        The field of {name} is full of corn.
        They planted {few} rows of beans.
        The potatoes are ready to be dug out.
        {name} mends the fence of the corral.
        The barn in {village} is full of straw.
        {name} feeds the hens and milks the cow.
        The farmer plows the field in spring.""",
        """{name} sows the wheat in spring.
        The harvest in {village} was good.
        There are {few} sacks of seed in the barn.""",
    ),
}
ASK = Pool(
    (
        "What is this text about: {choices}?\n{text}",
        "Choose one: {choices}.\nText: {text}\nTopic:",
        "Topics: {choices}\nText: {text}\nTopic:",
        "{text}\nIs this about {choices}?",
        "Which topic fits this text? {text} ({choices})",
        "Label the text. Labels: {choices}\nText: {text}\nLabel:",
        'Which of these is "{text}" about: {choices}?',
        "Answer with one word: {choices}. {text}",
    ),
    (
        "Sort this note under {choices}.\n{text}",
        "{text}\nI have these folders: {choices}. Which one fits?",
    ),
)


def make_chat(draw: Draw) -> Sample:
    """Return a short text with topics to choose from, and the topic that fits."""
    topic = draw.pick(tuple(TOPICS))
    others = draw.some([other for other in TOPICS if other != topic], draw.number(1, 4))
    choices = draw.some([topic, *others], len(others) + 1)
    one, two = draw.different(PEOPLE, 2)
    text = draw.line(
        draw.phrase(TOPICS[topic]),
        name=one.name,
        other=two.name,
        village=draw.word(VILLAGES),
        food=draw.word(FOODS),
        animal=draw.word(OTHER_ANIMALS if draw.held_words else GRASSLAND_ANIMALS),
        few=draw.number(2, 12),
    )
    said = f"{', '.join(choices[:-1])} {'or' if draw.chance(0.8) else 'and'} {choices[-1]}"
    layout = draw.phrase(ASK).replace("{choices}", said)
    return sample(layout.replace("{text}", sentence_case(text)), topic)


_TEMPLATES = tuple(text for side in TOPICS.values() for text in side.train)
TOPIC = Skill(
    "topic",
    0.03,
    make_chat,
    ("words", "phrasing"),
    _TEMPLATES + ASK.train,
    (NAMES, VILLAGES, FOODS, OTHER_ANIMALS),
)
