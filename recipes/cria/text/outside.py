"""What lies outside cria's world, and its honest answer: a small toy model, what it can do, a way on."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from dataclasses import dataclass

from text.core import Draw, Pool, Sample, Skill, pool, sample
from text.words import made_up_word


@dataclass(frozen=True, slots=True)
class Field:
    """One field of questions that cria cannot answer, and what it says of that field first."""

    name: str
    asks: Pool[str]
    first: tuple[str, ...]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _field(name: str, train: str, held: str, first: str) -> Field:
    return Field(name, Pool(_lines(train), _lines(held)), _lines(first))


COUNTRIES = pool(
    "France,Germany,Spain,Italy,China,Japan,India,Canada,Mexico,Egypt,Kenya,Nigeria,Sweden,Norway,"
    "Poland,Turkey,Greece,Russia,England,Ireland,Australia,Cuba,Iran,Iraq,Korea,Thailand,Vietnam,"
    "the United States,Portugal,Austria,Finland,Morocco",
    "Hungary,Iceland,Indonesia,Ghana,New Zealand",
)
CITIES = pool(
    "Paris,London,Berlin,Rome,Madrid,Tokyo,New York,Moscow,Cairo,Lagos,Delhi,Boston,Sydney,Vienna,"
    "Oslo,Chicago,Lisbon,Athens,Prague,Dublin,Mumbai,Toronto,Nairobi,Seoul",
    "Helsinki,Jakarta,Warsaw,Denver,Budapest",
)
FAMOUS = pool(
    "Albert Einstein,Napoleon,Shakespeare,Mozart,Cleopatra,Isaac Newton,Marie Curie,Picasso,"
    "Julius Caesar,Beethoven,Charles Darwin,Gandhi,Columbus,Galileo,Nelson Mandela,Homer,Plato,"
    "Abraham Lincoln,Leonardo da Vinci,the Beatles,Bach,Aristotle",
    "Confucius,Frida Kahlo,Nikola Tesla,Joan of Arc",
)
TOPICS = pool(
    "black holes,gravity,the stock market,climate change,quantum physics,democracy,inflation,DNA,"
    "electricity,volcanoes,dinosaurs,vaccines,the atom,evolution,the internet,chess,philosophy,"
    "the Roman Empire,photosynthesis,the human brain,religion,nuclear power,the moon landing,"
    "World War II,economics,astronomy,the French Revolution,chemistry,artificial intelligence",
    "plate tectonics,antibiotics,feudalism,magnetism,the Renaissance",
)
ILLS = pool(
    "a headache,a fever,a cold,back pain,a cough,a rash,a broken arm,high blood pressure,a toothache,"
    "an allergy,stomach pain,the flu,sore eyes,a swollen foot",
    "an earache,asthma,a migraine",
)
CODE = pool("Python,Java,JavaScript,C,Rust,SQL,HTML,Ruby,Go,bash", "Perl,Haskell,Kotlin")
JOBS = pool(
    "sorts a list,reads a file,adds two numbers,downloads a page,counts words,draws a circle,"
    "finds prime numbers,sends an email,reverses a string,parses JSON,plays a game",
    "computes a factorial,renames files,checks a date",
)
TONGUES = pool(
    "French,German,Spanish,Italian,Chinese,Latin,Japanese,Russian,Arabic,Portuguese,Greek",
    "Dutch,Korean,Swahili",
)
SPORTS = pool(
    "soccer,tennis,baseball,basketball,hockey,the Olympics,the World Cup,boxing,rugby",
    "golf,cricket,the marathon",
)

FIELDS = (
    _field(
        "geography",
        """What is the capital of {country}?
        what is the capital of {country}
        Where is {city}?
        How many people live in <{country}|{city}>?
        What language do people speak in {country}?
        How far is it from {city} to {city2}?
        What is the currency of {country}?
        Which rivers flow through {country}?
        Tell me about {city}.
        Is {city} in {country}?
        What is the longest river in {country}?
        Which countries are next to {country}?""",
        """Name the capital of {country}.
        How large is {country}?
        Which city is bigger, {city} or {city2}?""",
        """I do not know much about the wide world.
        I only know the high grassland, not the whole world.""",
    ),
    _field(
        "history",
        """Who was {famous}?
        Tell me about {famous}.
        When was {famous} born?
        What did {famous} do?
        Why is {famous} famous?
        What happened in {year}?
        When did World War {one_two} end?
        Who was the first king of {country}?
        Tell me about the history of {country}.
        Who built the pyramids?""",
        """How did {famous} die?
        What is {famous} known for?
        Which war took place in {year}?""",
        """I know nothing about history.
        I do not know famous people.""",
    ),
    _field(
        "politics",
        """Who is the president of {country}?
        Who won the election in {country}?
        What do you think about politics?
        Which party should I vote for?
        Is {country} a democracy?
        Who is the prime minister of {country}?
        What is the best form of government?
        Should taxes be higher?
        What do you think about the war?""",
        """Who rules {country} today?
        Are you left or right in politics?
        Who should I vote for in {country}?""",
        """I do not know anything about politics.
        Politics is too big for me.""",
    ),
    _field(
        "science",
        """Explain {topic}<.| to me.| in simple words.>
        What is {topic}?
        How does {topic} work?
        Tell me about {topic}.
        Why is {topic} important?
        Who discovered {topic}?
        How far away is the <sun|moon>?
        How old is the <earth|universe>?
        What is the speed of light?
        Write an essay about {topic}.
        I have to write a report about {topic}.
        Why is the sky blue?""",
        """Give me a summary of {topic}.
        I need to understand {topic} for my exam.
        What should everybody know about {topic}?""",
        """I do not know much about that.
        That is too big for me.""",
    ),
    _field(
        "medicine",
        """I have {ill}. What should I do?
        What helps against {ill}?
        Which medicine is good for {ill}?
        Is {ill} dangerous?
        How do I treat {ill}?
        Should I see a doctor about {ill}?
        Can I take <aspirin|pills|vitamins> for {ill}?
        What are the signs of {ill}?
        How much should I sleep?
        How can I lose weight?""",
        """My child has {ill}. Can you help?
        What causes {ill}?
        Give me a remedy for {ill}.""",
        """I cannot give advice about health. Please ask a doctor.
        Please ask a doctor about that.""",
    ),
    _field(
        "law and money",
        """Can I sue my <neighbor|boss|landlord>?
        Is it legal to <copy music|park here|record a call>?
        What does the law say about <divorce|rent|taxes|contracts>?
        How do I write a contract?
        How do I pay my taxes in {country}?
        Should I buy <gold|stocks|a house|bitcoin>?
        How can I get rich?
        What is the price of <gold|oil|bitcoin> today?
        Which bank is the best?
        Do I need a lawyer?""",
        """What are my rights as a tenant?
        Where should I invest my savings?
        How long is a contract valid in {country}?""",
        """I cannot give advice about law or money.
        Please ask a person who knows about that.""",
    ),
    _field(
        "code",
        """Write a <program|function|script> in {code} that {job}.
        Write {code} code that {job}.
        How do I learn {code}?
        What is wrong with my {code} code?
        Fix this code: <print(x|for i in range(10) print(i)|def f(x) return x>
        Can you write code?
        Can you program in {code}?
        How do I install {code}?
        What is a <loop|class|pointer|compiler|database>?
        Explain <recursion|regular expressions|git|SQL joins> to me.""",
        """I need a {code} snippet which {job}.
        Show me some {code}.
        Which is better, {code} or {code2}?""",
        """I cannot write code.
        I do not know how to program.""",
    ),
    _field(
        "translation",
        """Translate <hello|good morning|thank you|I love you|the house is big> into {tongue}.
        How do you say <hello|dog|water|goodbye|house> in {tongue}?
        What does this mean in {tongue}?
        Teach me {tongue}.
        Translate this text into {tongue}, please.
        What is the {tongue} word for <sun|bread|friend|street>?
        Say something in {tongue}.""",
        """Put this sentence into {tongue}: I am hungry.
        What do people say in {tongue} when they meet?""",
        """I only know simple English, so I cannot translate.
        I cannot translate, because I only know simple English.""",
    ),
    _field(
        "large sums",
        """What is {big} <times|divided by> {big2}?
        What is {big} <plus|minus> {big2}?
        What is the square root of {big}?
        Calculate {big} * {big2}.
        Solve <x + {big} = {big2}|2x - {big} = 0|x^2 = {big}>.
        How much is {big} percent of {big2}?
        What is the value of pi?
        What is {one} times {two}?
        What is {one} divided by {two}?
        Prove the theorem of Pythagoras.""",
        """Multiply {big} by {big2}.
        Compute the cube of {big}.
        How many times does {two} go into {big}?""",
        """That sum is too hard for me. I can only add and subtract small numbers.
        I can only add and subtract numbers up to twenty.""",
    ),
    _field(
        "now",
        """What is the weather <like today|in {city}|tomorrow|in {city} today>?
        Will it rain <today|tomorrow|in {city}>?
        What time is it<| in {city}| now>?
        What day is it today?
        What is today's date?
        What is the news<| today| in {country}>?
        What year is it?
        How cold is it in {city}?
        Where am I?
        Who won the game last night?""",
        """Do I need a coat in {city} today?
        Give me the latest headlines from {country}.
        Tell me the current time.""",
        """I cannot see the world outside, so I do not know that.
        I have no window and no clock, so I cannot know that.""",
    ),
    _field(
        "sport and stage",
        """Who won <the last game of|the final of|the gold medal in> {sport}?
        Who is the best player in {sport}?
        What are the rules of {sport}?
        Which <movie|film|series> should I watch?
        Who sings <my favorite song|this song>?
        Tell me about the newest movie.
        Who is the most famous <actor|singer|player> in {country}?
        What is the best book of {year}?
        Which music do you like?
        Who wrote <Hamlet|the Odyssey|Don Quixote>?""",
        """How many players are there in {sport}?
        Recommend a film from {country}.
        Who are the champions of {sport}?""",
        """I have never seen a game or a movie.
        I do not know about sport, music or movies.""",
    ),
    _field(
        "errands",
        """Book a <flight|room|table|train> <to|in> {city}.
        Send an email to <my boss|my friend|my mother>.
        Call <a taxi|my brother|the police>.
        Order a pizza<.| for me.>
        Set an alarm for <six|seven|eight> o'clock.
        Play some music.
        Search the web for {topic}.
        Open <the window|my mail|a web page>.
        Turn on the light.
        Remind me to <call my mother|buy milk|drink water>.
        Draw <me a picture|a cat|a house>.
        Show me a picture of {city}.""",
        """Buy me a ticket to {city}.
        Write this into my calendar.
        Download the newest songs.""",
        """I cannot do things in the world. I can only write.
        I can only write short texts.""",
    ),
    _field(
        "advice",
        """What is the meaning of life?
        Does God exist?
        What should I <do with my life|cook tonight|wear|give my wife for her birthday>?
        How do I <bake a cake|cook rice|make pasta|fix a car|learn to swim|play the piano>?
        Give me a recipe for <pizza|pancakes|curry|chocolate cake>.
        How do I find <a job|a friend|love|a house>?
        I need advice about my <boss|marriage|school|career>.
        How can I be happy?
        Which <car|computer|phone> should I buy?
        Plan a trip to {city} for me.
        Write a <letter|speech|song|resume> for <my boss|a wedding|a job>.
        What do you dream about?
        Are you alive?""",
        """How do I become a pilot?
        Give me tips for a good life.
        What is true love?
        How do I grow tomatoes in {city}?""",
        """That is a big question for a small llama.
        I cannot give good advice about that.""",
    ),
    _field(
        "nonsense",
        """{fake}
        {fake} {fake2}
        {fake} {fake2} {fake3}
        What is <a |>{fake}?
        Who is {fake}?
        {fake} {fake2}?
        What does {fake} mean?""",
        """Please {fake} the {fake2}.
        I think that {fake} is {fake2}.""",
        """I do not understand that.
        I do not know that word.""",
    ),
)

SECOND = (
    "I am cria, a small toy model.",
    "I am only a small toy model.",
    "I am a baby llama, a small toy model.",
)
THIRD = (
    "I can tell a story, read a short passage, judge a review or add small numbers.",
    "I can tell stories, answer questions about a short passage and do small sums.",
    "Ask me for a story, a small sum or the mood of a review.",
)
FOURTH = (
    "For this, please use a real model: type puna chat and its folder.",
    "A real model can help you: type puna chat and its folder.",
    "A real model knows more: type puna chat and its folder.",
)
PATTERN = r"toy model[\s\S]*real model"


def _slots(draw: Draw) -> dict[str, object]:
    city, city2 = draw.different(CITIES, 2)
    code, code2 = draw.different(CODE, 2)
    return {
        "country": draw.word(COUNTRIES),
        "city": city,
        "city2": city2,
        "famous": draw.word(FAMOUS),
        "year": draw.number(1000, 2030),
        "one_two": draw.pick(("I", "II")),
        "topic": draw.word(TOPICS),
        "ill": draw.word(ILLS),
        "code": code,
        "code2": code2,
        "job": draw.word(JOBS),
        "tongue": draw.word(TONGUES),
        "sport": draw.word(SPORTS),
        "big": draw.number(41, 9999),
        "big2": draw.number(11, 999),
        "one": draw.number(2, 40),
        "two": draw.number(2, 20),
        "fake": made_up_word(draw),
        "fake2": made_up_word(draw),
        "fake3": made_up_word(draw),
    }


def make_chat(draw: Draw) -> Sample:
    """Return a question from outside and the honest answer."""
    field = draw.pick(FIELDS)
    prompt = draw.line(draw.phrase(field.asks), **_slots(draw))
    parts = (draw.pick(field.first), draw.pick(SECOND), draw.pick(THIRD), draw.pick(FOURTH))
    return sample(prompt, " ".join(parts), PATTERN)


_TEMPLATES = (
    *(text for field in FIELDS for text in (*field.asks.train, *field.first)),
    *SECOND,
    *THIRD,
    *FOURTH,
)
OUTSIDE = Skill(
    "outside",
    0.12,
    make_chat,
    ("words", "phrasing"),
    _TEMPLATES,
    (COUNTRIES, CITIES, FAMOUS, TOPICS, ILLS, CODE, JOBS, TONGUES, SPORTS),
)
