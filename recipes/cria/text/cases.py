"""What can go wrong in everyday life, each told from the first word to the last.

A case gives the slots {first} (what is seen), {said} (the same, said by the customer), {more} (a
detail the customer adds), {cause} and {fix} (what the helper says) and {end} (how it is told).
"""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

Case = dict[str, str]


def _case(first: str, said: str, more: str, cause: str, fix: str, end: str) -> Case:
    return {"first": first, "said": said, "more": more, "cause": cause, "fix": fix, "end": end}


PAYING_CASES = (
    _case(
        "the money had been taken twice",
        "<I was charged twice for my {item}|My card was charged two times>",
        "<I see the same payment on {day} and on {day2}|The bank shows two payments of {price} dollars>",
        "The payment was sent two times, and that was our mistake",
        "<We will refund the second payment|You will get the second payment back> in three days",
        "The refund was on {his} card by {day2}",
    ),
    _case(
        "the amount on the invoice was {price2} dollars and not {price}",
        "<The amount on my invoice is wrong|My bill is too high>",
        "It says {price2} dollars, but the price was {price} dollars",
        "An old price was still in our books",
        "I will <write you a new invoice|correct the bill> today",
        "The new invoice had the right amount, and {name} paid it",
    ),
    _case(
        "the discount was missing on the bill",
        "<The discount is not on my bill|My coupon did not work>",
        "<The sign said ten percent off|I had a coupon for ten dollars>, and I paid the full price",
        "The coupon was not read by the machine",
        "I will take the discount off and give you the difference",
        "The shop gave {him} the difference in cash",
    ),
    _case(
        "there was a monthly fee for a plan that {he} had stopped",
        "<I stopped my subscription, but the fee was taken again|I still pay for a plan that I stopped>",
        "I stopped it last month, and the fee was taken again on {day}",
        "The plan was still active in our books",
        "I have stopped the plan now, and <the fee will come back to your card|you will not pay again>",
        "The plan was closed, and the fee came back",
    ),
    _case(
        "the payment had not gone through",
        "<My payment does not go through|The shop does not take my card>",
        "I typed the number of my card three times",
        "Your card has expired",
        "Please pay with another card or <in cash|by bank transfer>",
        "{he} paid with a new card, and it worked at once",
    ),
    _case(
        "the receipt was lost",
        "<I need a copy of my receipt|I have lost my receipt>",
        "I paid {price} dollars for a(n) {item} on {day}, and I need it for my taxes",
        "We keep every receipt for a year",
        "I will print a copy for you",
        "{name} put the copy into a box with all the others",
    ),
)
PARCEL_CASES = (
    _case(
        "it was still not there after ten days",
        "<My parcel has not arrived|My order is still not here|I am waiting for a package>",
        "It was sent on {day}, and it should take two days",
        "The box is still in the warehouse, because the label is missing",
        "We will put a new label on it, and the courier will bring it on {day2}",
        "On {day2} the courier brought it, a little wet but whole",
    ),
    _case(
        "the courier had gone to the wrong house",
        "<My package was left at the wrong house|A parcel of mine went to the wrong address>",
        "The page says that it was delivered, but nobody rang my bell",
        "The driver mixed up two numbers in the address",
        "The driver will pick it up and bring it to you <tomorrow|on {day2}>",
        "A neighbor had kept it dry, and {name} could take it home",
    ),
    _case(
        "the delivery was late because of the snow",
        "<The delivery is late|My delivery was promised for {day}>",
        "The tracking has said the same thing for a week",
        "The road to {village} is closed by snow",
        "The truck will leave the depot as soon as the road is open",
        "When the road was open again, the truck came with all the parcels at once",
    ),
    _case(
        "the address on it was an old one",
        "<I have moved, and my parcel is on its way|The address on my order is wrong>",
        "I live in {village} now",
        "The parcel has not left the depot yet",
        "I will send it to your new address",
        "It came to the new house on {day2}",
    ),
    _case(
        "nobody was at home when the courier came",
        "<The courier came when I was at work|I missed the delivery>",
        "There was only a card in my mailbox, with the number {number}",
        "The package is at the post office now",
        "You can pick it up there until six, or we can <ship it again|try again on {day2}>",
        "{name} picked it up at the post office after work",
    ),
    _case(
        "the tracking number did not work",
        "<The tracking number does not work|I cannot track my shipment>",
        "I typed {number}, and the page found nothing",
        "One number was missing in the email",
        "The right number is {number}5, and the parcel is on the truck",
        "With the right number {name} could see that the truck was already near",
    ),
)
RETURN_CASES = (
    _case(
        "it was the wrong color",
        "<You sent me the wrong color|This is not the color that I ordered>",
        "I ordered a(n) {color} one, and this is {color2}",
        "Two boxes were mixed up",
        "Please send it back, and we will send you a(n) {color} one",
        "The next one was {color}, and {name} kept it",
    ),
    _case(
        "it was too small",
        "<It does not fit me|It is too small for me>",
        "I need a larger size",
        "The sizes of this maker are small",
        "You can exchange it for a larger one <for free|here in the shop>",
        "The larger one was just right",
    ),
    _case(
        "it had a crack and one part was missing",
        "<It was damaged in the box|It came with a crack>",
        "One part is missing too",
        "It fell down on the way",
        "Please bring it back, and you can have <a new one|your money back>",
        "{name} took a new one home, and this one was whole",
    ),
    _case(
        "{he} already had one",
        "<I already have one|My brother gave me the same one>, so I would like to bring it back",
        "I have not opened the box",
        "That is no problem within thirty days",
        "You can swap it for <something else|a(n) {item2}>",
        "{he} swapped it for a(n) {item2} and was happy",
    ),
    _case(
        "it did not look like the picture at all",
        "<It does not look like the picture|I do not like it, and I want to send it back>",
        "I have not used it, and the box is as new",
        "The picture on our page is old",
        "I will send you a label, and then you can send it back for free",
        "{he} put it back in the box and took it to the post office",
    ),
)
MACHINE_CASES = (
    _case(
        "the screen stayed black",
        "<My {device} does not turn on|The screen of my {device} is black>",
        "I hear no sound, and no light is on",
        "The battery is old and empty",
        "Charge it with another cable, or <put in a new battery|bring it to us>",
        "With a new battery it started at once",
    ),
    _case(
        "it became slow and froze every few minutes",
        "<My {device} is very slow|My {device} freezes all the time>",
        "It began after the update on {day}",
        "There is a bug in the last update",
        "Please install the newest version and restart it",
        "After the new update it was fast again",
    ),
    _case(
        "it did not find the network",
        "<My {device} cannot connect to the network|The wireless connection is lost every evening>",
        "The signal is weak in the kitchen",
        "It is too far from the router",
        "Put it closer to the window and <connect it again|restart the router>",
        "Closer to the window, the connection was good",
    ),
    _case(
        "there was an error message and nothing moved",
        "<I see an error when I start the app|The app crashes when I open it>",
        "I have installed it two times",
        "The memory is full",
        "Please delete some pictures and start it again",
        "With more free memory the app worked",
    ),
    _case(
        "it made a strange sound and got very hot",
        "<My {device} makes a strange sound|My {device} gets very hot>",
        "It smells a little, too",
        "There is dust in the fan",
        "Turn it off, take out the plug and <clean it with a soft brush|bring it to the repair shop>",
        "Without the dust it was quiet and cool again",
    ),
    _case(
        "no button worked",
        "<The buttons of my {device} do not work|My {device} does nothing when I press a button>",
        "It fell on the floor on {day}",
        "A wire inside is loose",
        "We can fix it in two days",
        "After the repair every button worked",
    ),
)
PASSWORD_CASES = (
    _case(
        "{he} had forgotten the password",
        "<I have forgotten my password|I do not remember my password>",
        "I tried it five times",
        "You have not used it for a year",
        "I will send you a link, and then you can choose a new password",
        "With the new password {he} could log in",
    ),
    _case(
        "the account was locked",
        "<My account is locked|I cannot log in to my account>",
        "The page says that there were too many tries",
        "After three wrong tries it is locked for your safety",
        "I will unlock it now, and <you can sign in again|please wait ten minutes>",
        "Ten minutes later {he} was in again, and all {his} messages were there",
    ),
    _case(
        "the code went to {his} old email address",
        "<I have a new email address|The code goes to my old email address>",
        "I cannot open the old mailbox any more",
        "The old address is still in your profile",
        "I will change the email address in your profile",
        "The next code came to the new address",
    ),
    _case(
        "the name in the profile was wrong",
        "<I want to change the name in my profile|My user name is wrong>",
        "I got married, and I have a new name",
        "Only we can change that",
        "Please show me a paper with your new name",
        "The new name was in the profile the same day",
    ),
    _case(
        "somebody else had signed in",
        "<Somebody else has used my login|I got an email about a login that was not mine>",
        "I was asleep at that time",
        "Your password was too easy",
        "Please choose a new one, and log out on all devices",
        "{he} chose a long password, and nobody came in again",
    ),
    _case(
        "{he} could not find the page to close the account",
        "<I want to close my account|Please delete my user name>",
        "I do not use the library any more",
        "The page is hidden in the settings",
        "I can close it for you now",
        "The account was closed, and {name} got an email about it",
    ),
)
