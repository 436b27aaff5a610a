"""Everyday prose of paying, sending and bringing back: narratives, talks over the counter, letters.

Slots: {name} {he} {his} {him} of a customer, {other} of a clerk, {item}, {item2}, {shop}, {price},
{price2}, {day}, {day2}, {village}, {number}, {color}, and those of a case (see cases.py).
"""

from __future__ import annotations

from text.cases import PARCEL_CASES, PAYING_CASES, RETURN_CASES
from text.core import Script

_HELLO = "<Good morning|Good afternoon|Hello>"

PAYING = (
    Script(
        "paying story",
        (
            (
                "On {day} {name} bought a(n) {item} at {shop} and paid {price} dollars.",
                "{name} ordered a(n) {item} from {shop} for {price} dollars.",
                "{name} paid {price} dollars for a(n) {item}.",
            ),
            (
                "A few days later {he} saw that {first}.",
                "At home {he} noticed that {first}.",
                "But then {first}.",
            ),
            (
                "{he} went back to the shop and asked {other}.",
                "{he} called the shop, and {other} answered.",
                "{he} wrote to the shop and got an answer from {other}.",
            ),
            ('"{cause}," said {other}.', '{other} found the reason. "{cause}."', ""),
            ('Then {other} said, "{fix}."', '{other} knew what to do. "{fix}."'),
            ("{end}.",),
            (
                "It is good to read a bill before you pay it.",
                "Since then {name} keeps every receipt.",
                "",
            ),
        ),
        cases=PAYING_CASES,
    ),
    Script(
        "paying talk",
        (
            (
                f"{{name}}: {_HELLO}. {{said}}.",
                f"{{name}}: {_HELLO}. <Can you help me?|I have a problem.|I need help.> {{said}}.",
            ),
            (
                "{other}: I am sorry to hear that. What is wrong with the bill?",
                "{other}: Let us look at it. What happened?",
                "{other}: Show me the <receipt|invoice>, please. What happened?",
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
        PAYING_CASES,
    ),
    Script(
        "paying letter",
        (
            ("Hello,", "Dear {shop_name},", "Good day,", "Dear Sir or Madam,", ""),
            (
                "{said}.",
                "{said}. It is about a(n) {item} for {price} dollars.",
                "I bought a(n) {item} from you. {said}.",
            ),
            ("{more}.", ""),
            (
                "Please look at the payment and tell me what went wrong.",
                "Could you check my bill, please?",
                "The invoice number is {number}.",
                "Please answer soon.",
                "",
            ),
            ("Thank you,\n{name}", "Kind regards,\n{name}", "Best wishes,\n{name}", "{name}", ""),
        ),
        "\n",
        PAYING_CASES,
    ),
)

PARCELS = (
    Script(
        "parcel story",
        (
            (
                "The parcel for {name} left the depot on {day}.",
                "{name} ordered a(n) {item} on {day}, and the shop sent it the next morning.",
                "On {day} a parcel with a(n) {item} was sent to {name} in {village}.",
            ),
            (
                "But {first}.",
                "{name} waited and waited. {first}.",
                "Then {he} heard that {first}.",
            ),
            (
                "{he} called the depot and asked {other}.",
                "{he} went to the post office and asked {other}.",
                "{he} wrote to the courier and got an answer from {other}.",
            ),
            ('"{cause}," said {other}.', '{other} found the reason. "{cause}."', ""),
            ('Then {other} said, "{fix}."', '{other} knew what to do. "{fix}."'),
            ("{end}.",),
            (
                "In the end everything was well.",
                "{name} opened the box and smiled.",
                "",
            ),
        ),
        cases=PARCEL_CASES,
    ),
    Script(
        "parcel talk",
        (
            (
                f"{{name}}: {_HELLO}. {{said}}.",
                f"{{name}}: {_HELLO}. <Can you help me?|I have a problem.|I need help.> {{said}}.",
            ),
            (
                "{other}: What do you know about it?",
                "{other}: What does the tracking page say?",
                "{other}: I am sorry. Tell me more, please.",
                "{other}: Let us find it. What happened?",
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
        PARCEL_CASES,
    ),
    Script(
        "parcel letter",
        (
            ("Hello,", "Dear {shop_name},", "Good day,", "Dear Sir or Madam,", ""),
            (
                "{said}.",
                "{said}. In it is a(n) {item}.",
                "My order number is {number}. {said}.",
            ),
            ("{more}.", ""),
            (
                "When will it arrive?",
                "Where is it now?",
                "My tracking number is {number}.",
                "I need it before {day2}, because it is a gift.",
                "How long does shipping take?",
                "",
            ),
            ("Thank you,\n{name}", "Kind regards,\n{name}", "Best wishes,\n{name}", "{name}", ""),
        ),
        "\n",
        PARCEL_CASES,
    ),
)

BRINGING_BACK = (
    Script(
        "return story",
        (
            (
                "{name} bought a(n) {item} at {shop}.",
                "{name} got a(n) {item} as a gift.",
                "{name} opened the box and took out the {item}.",
            ),
            (
                "But {first}.",
                "{he} saw at once that {first}.",
                "At home {he} found that {first}.",
            ),
            (
                "So {he} took it back to the shop on {day}.",
                "{he} packed it up again and asked {other} about it.",
                "{he} went back with the box and the receipt.",
            ),
            ('"{cause}," said {other}.', '{other} found the reason. "{cause}."', ""),
            ('Then {other} said, "{fix}."', '{other} knew what to do. "{fix}."'),
            ("{end}.",),
            (
                "It is good to keep the box for a while.",
                "",
            ),
        ),
        cases=RETURN_CASES,
    ),
    Script(
        "return talk",
        (
            (
                f"{{name}}: {_HELLO}. {{said}}.",
                f"{{name}}: {_HELLO}. <Can you help me?|I have a problem.|I need help.> {{said}}.",
            ),
            (
                "{other}: What is wrong with it?",
                "{other}: I have found your receipt. What is the problem?",
                "{other}: Can you tell me more about it?",
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
        RETURN_CASES,
    ),
    Script(
        "return letter",
        (
            ("Hello,", "Dear {shop_name},", "Good day,", "Dear Sir or Madam,", ""),
            (
                "The {item} from my order {number} came on {day}. {said}.",
                "I bought a(n) {item} last week. {said}.",
                "It is about the {item}. {said}.",
            ),
            ("{more}.", ""),
            (
                "How do I send it back, and who pays for it?",
                "Until when can I bring it back?",
                "Please send me a label for the box.",
                "Can I exchange it or get a refund?",
                "",
            ),
            ("Thank you,\n{name}", "Kind regards,\n{name}", "Best wishes,\n{name}", "{name}", ""),
        ),
        "\n",
        RETURN_CASES,
    ),
)

SHOP_SCRIPTS = PAYING + PARCELS + BRINGING_BACK
