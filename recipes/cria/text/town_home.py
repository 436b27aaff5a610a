"""Everyday prose of machines, passwords, home and village: narratives, talks, letters, notices.

Slots: those of town_shop.py, and {device}, {animal}, {month}, {hour}, {hour2}.
"""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.cases import MACHINE_CASES, PASSWORD_CASES
from text.core import Script

_HELLO = "<Good morning|Good afternoon|Hello>"

MACHINES = (
    Script(
        "machine story",
        (
            (
                "The {device} of {name} had worked well for years.",
                "{name} has had a(n) {device} since {month}.",
                "On {day} {name} wanted to use the {device}.",
            ),
            (
                "Then, one day, {first}.",
                "But {first}.",
                "This time {first}.",
            ),
            (
                "{he} checked the cable and the plug, turned it off and on again, and then asked {other}.",
                "{he} read the manual, and it did not help. So {he} asked {other}.",
                "{he} took it to the repair shop, to {other}.",
            ),
            ('"{cause}," said {other}.', '{other} found the reason. "{cause}."', ""),
            ('Then {other} said, "{fix}."', '{other} knew what to do. "{fix}."'),
            ("{end}.",),
            (
                "{name} wrote down what to do the next time.",
                "",
            ),
        ),
        cases=MACHINE_CASES,
    ),
    Script(
        "machine talk",
        (
            (
                f"{{name}}: {_HELLO}. {{said}}.",
                f"{{name}}: {_HELLO}. <Can you help me?|I have a problem.|I need help.> {{said}}.",
            ),
            (
                "{other}: What else did you see?",
                "{other}: Please turn it off and on again. Does that help?\n{name}: No.",
                "{other}: Tell me more about it, please.",
                "{other}: Please check the cable and the plug. Is it better?\n{name}: No.",
            ),
            ("{name}: {more}.",),
            (
                "{other}: {cause}. {fix}.",
                "{other}: I see. {cause}. {fix}.",
                "{other}: Let me look. {cause}.\n{name}: What can we do?\n{other}: {fix}.",
            ),
            (
                "{name}: Thank you<| very much| for your help>.",
                "{name}: That is good. Thank you.",
                "{name}: Thank you, {other}. Goodbye.",
            ),
        ),
        "\n",
        MACHINE_CASES,
    ),
    Script(
        "machine letter",
        (
            ("Hello,", "Dear {shop_name},", "Good day,", "Dear Sir or Madam,", ""),
            (
                "{said}.",
                "I bought it in {month}. {said}.",
                "I need help with a problem. {said}.",
            ),
            ("{more}.", ""),
            (
                "What else can I try?",
                "How can I fix it?",
                "I have restarted it, and it did not help.",
                "Is it a bug in the software?",
                "",
            ),
            ("Thank you,\n{name}", "Kind regards,\n{name}", "Best wishes,\n{name}", "{name}", ""),
        ),
        "\n",
        MACHINE_CASES,
    ),
)

PASSWORDS = (
    Script(
        "password story",
        (
            (
                "{name} wanted to sign in to the library page.",
                "On {day} {name} wanted to read {his} mail.",
                "{name} opened the page of {shop} and typed {his} user name.",
            ),
            (
                "But {first}.",
                "{he} could not go on, because {first}.",
                "Then {he} saw that {first}.",
            ),
            (
                "{he} called for help, and {other} answered.",
                "{he} wrote to {other}, who looks after the page.",
            ),
            ('"{cause}," said {other}.', '{other} found the reason. "{cause}."', ""),
            ('Then {other} said, "{fix}."', '{other} knew what to do. "{fix}."'),
            ("{end}.",),
            (
                "Never tell anybody your password.",
                "",
            ),
        ),
        cases=PASSWORD_CASES,
    ),
    Script(
        "password talk",
        (
            (
                f"{{name}}: {_HELLO}. {{said}}.",
                f"{{name}}: {_HELLO}. <Can you help me?|I have a problem.|I need help.> {{said}}.",
            ),
            (
                "{other}: I can help you with that. What happened?",
                "{other}: Tell me what you see when you sign in.",
                "{other}: Thank you for calling. Can you tell me more?",
            ),
            ("{name}: {more}.",),
            (
                "{other}: {cause}. {fix}.",
                "{other}: I see. {cause}. {fix}.",
                "{other}: Let me look. {cause}.\n{name}: What can we do?\n{other}: {fix}.",
            ),
            (
                "{name}: Thank you<| very much| for your help>.",
                "{name}: That is good. Thank you.",
                "{name}: Thank you, {other}. Goodbye.",
            ),
        ),
        "\n",
        PASSWORD_CASES,
    ),
    Script(
        "password letter",
        (
            ("Hello,", "Dear {shop_name},", "Good day,", "Dear Sir or Madam,", ""),
            (
                "{said}.",
                "{said}. I want to use your page again.",
                "Since {day} I have had a problem. {said}.",
            ),
            ("{more}.", ""),
            (
                "Please help me to get in again.",
                "My user name is {name_low}{small}.",
                "What should I do now?",
                "Please send me a link by email.",
                "",
            ),
            ("Thank you,\n{name}", "Kind regards,\n{name}", "Best wishes,\n{name}", "{name}", ""),
        ),
        "\n",
        PASSWORD_CASES,
    ),
)

VILLAGE_LIFE = (
    Script(
        "herder's day",
        (
            (
                "{name} is a herder near {village}. {he} gets up before the sun.",
                "Every morning {name} opens the corral and counts the llamas.",
                "{name} lives in a small stone house near {village} and has {small} llamas.",
            ),
            (
                "There is frost on the grass, and the air is thin and cold.",
                "The first light falls on the snow of the mountains.",
                "In {month} the nights are cold and the days are bright.",
            ),
            (
                "The herd walks slowly to the pasture, and the old ones go first.",
                "The young ones jump and run, and their mothers hum to them.",
                "{his} dog runs ahead and looks for the fox.",
            ),
            (
                "At noon {he} eats bread and cheese beside the stream.",
                "At noon {he} makes tea over a small fire.",
                "",
            ),
            (
                "In the afternoon {he} spins wool while the animals eat.",
                "When the wind gets strong, {he} looks for a rock to sit behind.",
                "Sometimes a condor turns high above, with wings as wide as a house.",
            ),
            (
                "In the evening {he} counts again, and tonight one is missing.",
                "Before dark they all go home together.",
            ),
            (
                "{he} finds the little one asleep behind a bush and carries it home.",
                "At night it is so quiet that you can hear the grass.",
                "{he} closes the gate and thanks the day.",
            ),
        ),
    ),
    Script(
        "kitchen",
        (
            (
                "On {day} {name} made soup for the whole family. {he} washed the potatoes and cut the carrots into small pieces.",
                "On {day} {name} made soup. First {he} lit the stove and put on a big pot of water.",
                "{name} wanted to bake bread, as {his} grandmother did. {he} took flour, water, salt and a little oil.",
            ),
            (
                "{his} little brother wanted to help and spilled the milk.",
                "The cat sat on the chair and watched everything.",
                "Soon the whole house smelled good.",
            ),
            (
                "Then {he} waited for one hour and did not open the lid.",
                "{he} looked at the clock and set the table.",
            ),
            (
                "At {hour} o'clock everybody came to the table.",
                "Soon everybody was there, even the neighbor.",
            ),
            (
                '"This is very good," said {other}. "May I have some more?"',
                "They ate until nothing was left on the plates.",
            ),
            (
                "Then they all washed the plates together.",
                "And there was a little left for the next day.",
            ),
        ),
    ),
    Script(
        "school",
        (
            (
                "{name} walks to school every day, an hour there and an hour back.",
                "At the school of {village} there are {small} children and one teacher.",
            ),
            (
                "Today the lesson is about numbers. What is left when you take four from nine? {name} thinks for a while and writes five on the board.",
                "Today they learn the names of the stars, and {other} knows them all.",
                "Today everybody reads a page of the same book. {name} reads slowly, but {he} reads every word.",
                "Today they write a short text. {name} writes about {his} dog.",
            ),
            (
                '"That is right," says the teacher.',
                '"Very good," says the teacher. "Take your time."',
            ),
            (
                "At noon they play ball in the yard.",
                "In the break they share their bread and tell jokes.",
            ),
            (
                "On the way home {name} counts the birds.",
                "After school {name} helps {his} mother with the animals.",
            ),
        ),
    ),
    Script(
        "notice",
        (
            (
                "Notice: The post office in {village} is closed on {day}.",
                "Notice: The library in {village} has new hours.",
                "Notice: The wool market is on {day} in {village}.",
                "Notice: The bridge near {village} is closed for repair.",
                "Notice: The bus to {village} leaves at {hour} o'clock.",
                "Notice: The swimming pool opens again in {month}.",
                "Notice: A(n) {color} {item} was found near the station.",
                "Notice: The repair shop has moved to {village}.",
            ),
            (
                "It will be open again on {day2} from {hour} to {hour2}.",
                "Please come between {hour} and {hour2} o'clock.",
                "A ticket costs {price} dollars, and children pay half.",
                "Everybody is welcome.",
            ),
            (
                "For questions please ask {name} in room {small}.",
                "Please bring your card and your receipt.",
                "Please do not bring dogs.",
                "Parcels can be picked up next door.",
            ),
            ("Thank you.", "We are sorry for the trouble.", "{name}, {village}"),
        ),
    ),
    Script(
        "postcard",
        (
            ("Dear {other},", "Hello {other},"),
            (
                "I am in {village} with my family, and the weather is good.",
                "We came to {village} on {day}, after a long trip by bus.",
                "Greetings from {village}!",
            ),
            (
                "Yesterday we saw a(n) {animal} near the lake.",
                "Every morning a(n) {animal} looks in at our window.",
                "We have seen {small} llamas and one very small cria.",
            ),
            (
                "The nights are cold, so I bought a(n) {color} {item}.",
                "I have bought a(n) {item} for you. It is {color}.",
            ),
            (
                "On {day2} we will take the bus home.",
                "We will be back on {day2}.",
                "I wish you were here.",
            ),
            ("Love,\n{name}", "See you soon,\n{name}", "Yours,\n{name}"),
        ),
        "\n",
    ),
    Script(
        "animal page",
        (
            (
                "The llama is a big, strong animal of the high grassland.",
                "The alpaca is smaller than the llama, and its wool is soft.",
                "The vicuña is small, wild and shy.",
                "The guanaco is wild, and it can run very fast.",
                "The condor is a very big bird of the mountains.",
                "The viscacha looks like a rabbit with a long tail.",
                "The flamingo stands in the salt lakes on long legs.",
                "The fox of the mountains hunts mice at night.",
            ),
            (
                "It lives where the air is thin and the nights are cold.",
                "You can see it near {village}, early in the morning.",
                "It knows every path between the rocks.",
            ),
            (
                "In {month} there is little to eat, and it must walk far.",
                "When it is afraid, it calls, and the others look up.",
                "In the dry months it looks for water.",
            ),
            (
                "{name} saw {small} of them on {day} and wrote it down in a(n) {color} notebook.",
                "{name} has watched them for {small} years.",
                "Last {day} {name} took a picture of one.",
            ),
            (
                '"You must sit still and wait," {he} says.',
                "{he} says that every one of them is different.",
            ),
        ),
    ),
)

HOME_SCRIPTS = MACHINES + PASSWORDS + VILLAGE_LIFE
