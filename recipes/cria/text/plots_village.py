"""Plots of the village: parcels, markets, repairs, passwords, feasts. See stories.py for slots."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.core import Script

PARCEL = Script(
    "parcel",
    (
        (
            "{hero} carried the mail from the village to {place}.",
            "{hero} worked for the post office and <knew every address|was proud of it>.",
        ),
        (
            "One <day|morning> there was a parcel for {helper_intro}. In it was a(n) {adj} {object}.",
            "On Monday a parcel came from far away. It was for {helper_intro}, and a(n) {adj} {object} was in it.",
        ),
        (
            '"It must arrive today," said the <postmaster|woman at the post office>. "It is late already."',
            '"Please deliver it before night," said the postmaster, and she put a stamp on it.',
        ),
        (
            "So {hero} set off, with the parcel on {his} back.",
            "{hero} put the parcel in {his} bag and left at once.",
        ),
        (
            "But the rain had washed the address away.",
            "At {place2} the path was closed by a big rock.",
            "Halfway, the wind took the label with the address and blew it away.",
        ),
        (
            '"What shall I do now?" thought {hero}. "A parcel that does not arrive makes somebody sad."',
            "{hero} did not give up. {he} took the long way around.",
            "{hero} asked at every door, and nobody knew. But {he} did not turn back.",
        ),
        (
            "It grew dark, and {his} feet hurt, but the parcel stayed dry.",
            "{he} walked all day and kept the parcel safe from rain and mud.",
        ),
        (
            "Late in the evening {he} came to {place}, and there stood {helper}, waiting at the door.",
            "At last {he} saw a light. {helper} was still awake.",
        ),
        (
            '"My {object}!" said {helper}. "I thought it was lost on the way."',
            '{helper} opened the box and found the {object}, whole and clean. "Not a scratch!"',
        ),
        (
            '"Sorry that it is late," said {hero}. "It has arrived, and that is what matters," said {helper}.',
            "{helper} signed the paper and gave {hero} a cup of hot milk.",
        ),
        (
            "That night {hero} slept beside the stove, and the next day {he} carried a letter of thanks back.",
            "Since then everybody wants {hero} to carry their parcels.",
        ),
    ),
)

REPAIR = Script(
    "repair",
    (
        (
            "In the village there was an old <radio|lamp|clock>, and everybody loved it.",
            "{hero} had an old <radio|lamp|clock> that stood beside the window.",
        ),
        (
            "One evening it made a strange noise and stopped.",
            "One morning it did not turn on. There was no sound and no light.",
        ),
        (
            '"It is broken," said the neighbors. "Throw it away."',
            '"It is too old," they all said. "Buy a new one."',
        ),
        (
            '"Wait," said {hero}. "Let me look first."',
            "But {hero} did not want to throw it away.",
        ),
        (
            "{he} took it to {helper_intro}, who lived near {place} and knew a lot about machines.",
            "{he} asked {helper_intro} for help, and they opened it together.",
        ),
        (
            '"First we check the plug," said {helper}. "Then the cable. Then the battery."',
            "They checked the cable, the switch and the battery, one after the other.",
        ),
        (
            "The cable was fine, and the switch was fine. But the battery was old and empty.",
            "Inside they found a little ant, asleep between the wires. They carried it out gently.",
            "One small screw was loose. That was all.",
        ),
        (
            "They fixed it, closed the lid and turned it on again.",
            "{helper} held the light, {hero} fixed it, and then they tried again.",
        ),
        (
            "Click! It worked, better than before.",
            "It worked at the first try, and they both cheered.",
        ),
        (
            "That evening the whole village came to {his} window.",
            '"How did you do it?" asked the neighbors. "We looked before we threw it away," said {hero}.',
        ),
        (
            "Now everybody brings their broken things to {hero}.",
            "And the old thing is still there, and it still works.",
        ),
    ),
)

MARKET = Script(
    "market",
    (
        (
            "On market day {hero} had <five|six|seven> coins and wanted to buy a(n) {adj} {object}.",
            "{hero} had saved coins for a whole year to buy a(n) {object} at the market.",
        ),
        (
            "At a stall near {place} sat {helper_intro}, who sold all kinds of things.",
            "{he} went to {helper_intro}, who had the best stall in the market.",
        ),
        (
            '"It costs three coins," said {helper}. {hero} paid, took the {object} and went home.',
            "The price was three coins. {hero} paid and got the {object} in a paper bag.",
        ),
        (
            "At home {he} counted {his} money. {helper} had given back too much!",
            "But at home {he} saw that {he} had paid twice.",
            "But at home {he} saw that the {object} had a crack.",
        ),
        (
            '"I must go back," said {hero}, though it was a long way.',
            "{hero} thought about it all night. In the morning {he} went back to the market.",
        ),
        (
            '"Something is wrong," {he} said. "Can we look at it together?"',
            '"There was a mistake yesterday," said {hero}, and {he} told what had happened.',
        ),
        (
            "{helper} looked at the receipt and nodded.",
            "{helper} listened to every word and counted the coins again.",
        ),
        (
            '"You are right, and you are honest," said {helper}. "I am sorry. Let us make it good."',
            '"Thank you for coming back," said {helper}. "Many would not have come."',
        ),
        (
            "They made it right, and {helper} gave {him} a little bag of {food} as a gift.",
            "Then they shook hands and drank a cup of hot milk together.",
        ),
        (
            "Since then {hero} buys only there, and {helper} always asks how {he} is.",
            "An honest word is worth more than three coins.",
        ),
    ),
)

PASSWORD = Script(
    "password",
    (
        (
            "Near {place} there was a gate, and behind it was the best garden of the puna.",
            "The old storehouse at {place} had a door that opened only with a secret word.",
        ),
        (
            '{helper_intro} stood in front of it. "Say the password, please," said {helper}.',
            "In front of it sat {helper_intro}, who asked everybody for the password.",
        ),
        (
            "{hero} had known the word yesterday, but today it was gone from {his} head.",
            "{hero} had forgotten the password.",
        ),
        (
            '"Is it {object}?" asked {hero}. "No," said {helper}.',
            '"Snow?" asked {hero}. "No." "Sun?" asked {hero}. "No."',
        ),
        (
            '"You have one more try, and then the gate stays locked until tomorrow," said {helper}.',
            '"After three wrong words I must lock the door," said {helper}. "Those are the rules."',
        ),
        (
            '"But you know me!" said {hero}. "I know your face," said {helper}, "but I must be careful."',
            "{hero} was angry at first. Then {he} saw that {helper} was only careful.",
        ),
        (
            '"Then send me a new one, please," said {hero}.',
            '"Can I get a new password?" asked {hero}.',
        ),
        (
            '"Yes," said {helper}. "Tell me three things that only you can know."',
            '"That is easy," said {helper}. "First show me that you are really you."',
        ),
        (
            "{hero} told {helper} where {he} was born, what {he} ate on Sunday and which song {he} hums at night.",
            "{hero} hummed the song that only {his} family knows.",
        ),
        (
            "{helper} smiled and whispered a new word, and the gate opened.",
            '"Good. Here is your new word, and tell it to nobody," said {helper}.',
        ),
        (
            "{hero} said it a hundred times on the way, so as not to forget it again.",
            "And this time {hero} did not forget it.",
        ),
    ),
)

FEAST = Script(
    "feast",
    (
        (
            "In three days there would be a big feast at {place}.",
            "Every summer there was a feast at {place}, with music and dancing.",
        ),
        (
            "Everybody brought something: <bread, cheese and soup|songs, cakes and flowers>.",
            "The condor would sing, the foxes would cook, and the mice would dance.",
        ),
        (
            '"And what can I bring?" asked {hero}. "I cannot sing, and I cannot cook."',
            "Only {hero} had nothing to bring, and that made {him} sad.",
        ),
        (
            "{he} went to {helper_intro} and asked for advice.",
            "{helper_intro} saw {him} sitting alone near {place2}.",
        ),
        (
            '"What do you like to do?" asked {helper}.',
            '"Everybody can do something," said {helper}. "What makes you happy?"',
        ),
        (
            '"I like to listen," said {hero} after a while.',
            '"I like to make things," said {hero}. "I made this {object}."',
            '"I can carry things," said {hero}. "That is all."',
        ),
        (
            '"Then that is what you bring," said {helper}.',
            '{helper} laughed. "That is just what we need!"',
        ),
        (
            "On the evening of the feast, the wind blew all the lights out. But {hero} knew every stone. {he} went ahead, and everybody followed.",
            "On the day of the feast, the cart broke, with all the food on it. But {hero} stayed calm and carried the heavy pots, one by one.",
            "That evening many guests were shy and stood alone. But {hero} talked to every one of them, until all were laughing.",
        ),
        (
            "It was the best feast in years, and they danced until the stars grew pale.",
            '"Without you there would be no feast," said {helper}.',
        ),
        (
            "Everybody has something to bring.",
            "And {hero} danced too, a little slowly, but very happily.",
        ),
    ),
)

GIFT = Script(
    "gift",
    (
        (
            "It was nearly the birthday of {helper_intro}, and {hero} wanted to make a gift.",
            "{hero} had a good friend, {helper_intro}, who would soon have a birthday.",
        ),
        (
            '"I will make a(n) {object}," said {hero}. "The finest {object} on the puna."',
            "{he} wanted to give {helper} a(n) {adj} {object}.",
        ),
        (
            "{he} worked on it every evening, in secret, near {place}.",
            "Every night, when the others slept, {he} worked on it.",
        ),
        (
            "The first one fell and broke. The second one was crooked.",
            "The first try was too big, and the second try was too small.",
        ),
        (
            '"I will never be ready in time," said {hero}. But {he} began again.',
            "{hero} wanted to stop. Then {he} thought of {helper} and went on.",
        ),
        (
            "On the morning of the birthday it was done. It was a little crooked, but it was {his} own work.",
            "At last it was ready, just in time.",
        ),
        (
            "{helper} unpacked the {object} and looked at it from all sides.",
            '"Happy birthday!" said {hero} and gave {helper} the {object}.',
        ),
        (
            '"You made this?" asked {helper}. "For me?"',
            "{helper} was quiet for a moment.",
        ),
        (
            '"It is the best gift I have ever had," said {helper}, "because your time is in it."',
            '"I will keep this {object} all my life," said {helper}.',
        ),
        (
            "And {hero} was even happier than {helper}.",
            "They ate {food} together and laughed until it was dark.",
        ),
    ),
)

TRICK = Script(
    "trick",
    (
        (
            "{hero} liked to play tricks on the others.",
            "{hero} was clever, but {he} did not always tell the truth.",
        ),
        (
            'One day {he} ran to {place} and shouted, "The puma is coming!"',
            'One evening {he} called from {place}, "Help, a puma!"',
        ),
        (
            "Everybody ran and hid. But there was no puma, and {hero} laughed.",
            "All the animals ran as fast as they could. {hero} laughed until {his} belly hurt.",
        ),
        (
            '"That was not funny," said {helper_intro}.',
            '{helper_intro} shook a wise head and said, "One day nobody will believe you."',
        ),
        (
            "The next week {he} did it again, and the week after that.",
            "{hero} did it a second time, and a third time.",
        ),
        (
            "Then, one quiet night, a real puma came.",
            "Then, one day at {place2}, {he} heard a low growl. It was a real puma.",
        ),
        (
            '"Help!" cried {hero}. But everybody thought that it was only a trick.',
            "{hero} called and called, and nobody came.",
        ),
        (
            "Only {helper} listened closely. This time the voice was different.",
            'Only {helper} said, "Maybe it is true this time," and ran to look.',
        ),
        (
            "{helper} made so much noise with stones and sticks that the puma ran away.",
            "{helper} woke the whole herd, and when the puma saw so many, it went away.",
        ),
        (
            '"I am sorry," said {hero}. "I will not lie again."',
            '"Thank you for coming," said {hero}, and {he} was ashamed.',
        ),
        (
            "And {he} kept {his} word, and after some time everybody believed {him} again.",
            "Trust is like a bowl: easy to break and slow to mend.",
        ),
    ),
)

BRIDGE = Script(
    "bridge",
    (
        (
            "The old bridge near {place} fell into the river one night.",
            "One spring the river was so high that it took the bridge away.",
        ),
        (
            "Now nobody could get to the market, and no mail came.",
            "On one side was the village, and on the other side was the good grass.",
        ),
        (
            '"Somebody must build a new one," said everybody, and nobody began.',
            "They all talked about it for days.",
        ),
        (
            "Then {hero} took a stone, carried it to the river and put it down.",
            "{hero} did not talk. {he} fetched one stone, and then another.",
        ),
        (
            '{helper_intro} laughed. "What can one small stone do?"',
            '"That will take a hundred years," said {helper_intro}.',
        ),
        (
            '"Not if you bring one too," said {hero}.',
            '"Then it is good that I have begun today," said {hero}.',
        ),
        (
            "{helper} thought about that and brought a stone. Then others came, too.",
            "That was a good answer, and {helper} began to help.",
        ),
        (
            "The strong ones brought logs, the small ones brought ropes, and the birds showed the way.",
            "They worked from sunrise to sunset, and even the toads helped.",
        ),
        (
            "After <ten|twelve|twenty> days the bridge was ready.",
            "Before the next full moon the new bridge stood.",
        ),
        (
            "{hero} walked over it first, and it held.",
            "They named it after {hero}, because {he} had put down the first stone.",
        ),
        (
            "Every big thing begins with one small stone.",
            "That evening they all danced on the bridge.",
        ),
    ),
)

VILLAGE_PLOTS = (PARCEL, REPAIR, MARKET, PASSWORD, FEAST, GIFT, TRICK, BRIDGE)
