"""The word lists. The second list of a pool is reserved for held-out rows, whatever the seed."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from dataclasses import dataclass

from text.core import Draw, Pool, pool


@dataclass(frozen=True, slots=True)
class Person:
    """A name and the pronouns that go with it."""

    name: str
    he: str

    @property
    def slots(self) -> dict[str, str]:
        """The words a template needs to speak of this person."""
        his = {"he": "his", "she": "her"}[self.he]
        him = {"he": "him", "she": "her"}[self.he]
        return {
            "name": self.name,
            "he": self.he,
            "his": his,
            "him": him,
            "himself": f"{him}self",
        }


def _people(women: str, men: str) -> tuple[Person, ...]:
    return tuple(Person(name, "she") for name in women.split()) + tuple(
        Person(name, "he") for name in men.split()
    )


PEOPLE: Pool[Person] = Pool(
    _people(
        "Ana Rosa Luz Elena Carmen Julia Marta Clara Lucia Sofia Nora Ines Paula Irma Vera Alma "
        "Olga Flora Silvia Teresa Emma Lily Mia Zoe Eva Kate Ruth Sarah Alice Grace Hannah Maria "
        "Anna Laura Amina Leila Mei Yuki Hana Priya Ama Zuri Dora Nina Lena Tanya Marie Claire "
        "Fatima Aisha Ines Rita Linda Susan Jane Helen Ella Ivy",
        "Diego Mateo Pablo Luis Carlos Tomas Hugo Bruno Marco Andres Felix Jorge Raul Ivan Oscar "
        "Pedro Simon Victor Samuel Daniel David Emil Leo Max Ben Tom Sam Will Jack Peter Paul Omar "
        "Ali Yusuf Chen Kenji Ravi Anil Kofi Kwame Tunde Adam Noah Erik Hans Pierre Louis Jean "
        "George Frank Martin Robert James Nico Theo Ned",
    ),
    _people("Beatriz Nadia Oksana Sachi Miriam Yolanda", "Gabriel Stefan Farid Henry Dmitri Kurt"),
)
NAMES: Pool[str] = Pool(
    tuple(person.name for person in PEOPLE.train), tuple(person.name for person in PEOPLE.held)
)

# Names of animals in stories.
PET_NAMES = pool(
    "Suri Inti Killa Illari Amaru Sami Kusi Tika Rumi Urpi Chaska Mayu Sisa Wari Asiri Munay Qori "
    "Antay Luna Sol Nube Pepa Chico Bela Momo Toto Lulu Kiki Tito Pico Paco Coco Mimi Dodo Nilo "
    "Lila Timo Poppy Olli Pia Bibi Moss Pebble Cloud Dusty Sunny Pip Rusty Willow Clover",
    "Wayra Yaku Tupa Zaza Fennel Bramble Qantu Nuna",
)
GRASSLAND_ANIMALS = pool(
    "llama,alpaca,vicuña,guanaco,fox,condor,flamingo,viscacha,puma,deer,duck,goose,hummingbird,owl,"
    "toad,mouse,rabbit,dog,donkey,sheep,hawk,lizard,armadillo,skunk,chinchilla,ibis,horse,hen,cat"
)
OTHER_ANIMALS = pool(
    "cow,bear,frog,bee,elephant,monkey,penguin,tiger,pig,goat,wolf,lion,ant,snail,butterfly,whale,"
    "dragon,kitten,puppy,sparrow,squirrel,camel,pony,crow,dove,spider,zebra,swan",
    "otter,heron,beetle,turtle,badger,parrot,kangaroo,hedgehog",
)
PLACES = pool(
    "the blue lake,the river,the long ridge,the salt flat,the stone hut,the green valley,the warm "
    "spring,the round hill,the old corral,the village,the stone bridge,the quiet cave,the high "
    "pass,the meadow,the sandy path,the old well,the tall rocks,the big boulder,the clear stream,"
    "the grassy slope,the snowy peak,the little church,the windmill,the mud wall",
    "the marsh,the waterfall,the canyon,the watchtower,the orchard",
)
KEEPSAKES = pool(
    "bell,blanket,basket,drum,flute,rope,hat,button,shell,feather,key,map,mirror,kite,ribbon,"
    "whistle,spoon,cup,bowl,coin,book,candle,stone,ring,scarf,hammer,clock,box,bag,pot,horn,"
    "bracelet,doll,ball,broom,comb,jug,lamp,necklace,pencil,seed,stick,sack,wheel,letter",
    "lantern,umbrella,compass,helmet,acorn,anchor,violin,crown",
)
FOODS = pool(
    "bread,corn,quinoa,cheese,rice,fruit,dried apples,beans,nuts,potatoes,carrots,toasted corn,"
    "dried fish,cookies",
    "barley,dried figs,raisins",
)
COLORS = pool(
    "red,blue,green,yellow,white,black,brown,gray,orange,pink,golden,silver", "purple,violet"
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
VILLAGES = pool(
    "Alto Verde,Piedra Blanca,Agua Clara,Los Molles,Tres Lagunas,Santa Rita,Pampa Larga,Cerro Azul,"
    "Villa Nueva,La Quinta,Casa Alta,Puerto Viejo,North Hill,Green Bridge,Stone Field,Lakeside,"
    "Old Mill,West Gate,Rockdale,Summerton",
    "Monte Rojo,Valle Frio,Fernwood,Eastbrook",
)


@dataclass(frozen=True, slots=True)
class Good:
    """A thing that is bought, sent or reviewed, and the kind of thing it is."""

    name: str
    kind: str


def _goods(**kinds: str) -> tuple[Good, ...]:
    return tuple(
        Good(name.strip(), kind) for kind, names in kinds.items() for name in names.split(",")
    )


GOODS: Pool[Good] = Pool(
    _goods(
        device="phone,tablet,radio,camera,lamp,alarm clock,keyboard,printer,speaker,headset,laptop,"
        "watch,kettle,fan,heater,toaster,blender,router,monitor,computer,television,charger,"
        "flashlight,oven,vacuum cleaner",
        clothes="scarf,hat,coat,sweater,shirt,jacket,belt,dress,skirt,vest,raincoat,shawl,tie",
        home="blanket,pillow,mug,chair,table,rug,towel,basket,bowl,mirror,shelf,pan,teapot,bag,"
        "backpack,suitcase,mattress,desk,carpet,curtain,plate,bottle",
        fun="book,puzzle,kite,drum,doll,ball,notebook,flute,guitar,board game,toy car,paint box,"
        "storybook",
        tool="hammer,shovel,rope,ladder,bicycle,tent,saw,bucket,wheelbarrow,lock,tool box",
    ),
    _goods(
        device="drone,projector,microphone,webcam",
        clothes="cardigan,poncho,cap",
        home="vase,cushion,thermos",
        fun="globe,jigsaw,telescope",
        tool="wrench,hammock",
    ),
)
GOOD_NAMES: Pool[str] = Pool(
    tuple(good.name for good in GOODS.train), tuple(good.name for good in GOODS.held)
)
SHOPS = pool(
    "the corner shop,the bookshop,the hardware store,the market hall,the toy shop,the online shop,"
    "the phone shop,the wool shop,the village store,the big store,the web shop,the gift shop",
    "the bazaar,the outlet,the kiosk",
)

# Everyday words for copying exercises: many, and of every topic.
EVERYDAY = pool(
    "apple arm autumn baby bank barn bath beach bean bed bench bill bird boat body bone boot bottle "
    "branch bread brick bridge brother bucket bus cabin cable candle card carpet cart chair chalk "
    "charge charger cheese child church city class clay cloud coal coat coffee coin corner cotton "
    "courier cousin cream credit cup customer dance daughter day delivery depot desk door dream dress "
    "drum dust ear earth egg email engine error evening eye family farm farmer father feather fence "
    "field finger fire fish flag floor flower fog foot forest fork friend frost fruit game garden gate "
    "girl glass glove gold grain grandmother grass ground guest hair hammer hand harbor hay head heart "
    "herd hill honey hope horn house ice idea ink invoice iron island jar job journey juice key kitchen "
    "ladder lake lamp leaf lesson letter light line lip lock lunch machine mail market meadow meal meat "
    "message metal milk mill minute mirror money moon morning mother mountain mouth music nail name neck "
    "needle nest night noise noon north nose number ocean oil order oven owner page paint paper parcel "
    "park party password path payment peace pen phone picture pillow plate pocket pond post potato price "
    "prize puddle purse queen question rain receipt refund ribbon rice river road rock roof room root "
    "rope salt sand school screen sea season seat shadow shelf ship shirt shoe shop shoulder sign silk "
    "sister skin sky sleep smile smoke snow soap sock song sound soup south spoon spring stable stair "
    "stamp star station stem step stone store storm story stove street sugar summer sun table tail tea "
    "teacher tent thread ticket time tooth top tower town toy train tree trip truck uncle update valley "
    "village voice wall warehouse water wave weather wheel wind window winter wing winner wire wood wool "
    "word work world yard year shipping billing account returns technical other yes no high low open "
    "closed urgent normal happy sad angry calm early late left right",
    "attic bonnet cactus castle cellar chimney coral crayon dolphin eagle emerald ginger glacier hotel "
    "igloo jungle ladle lemon magnet marble napkin oyster palace peanut pepper raven saddle sponge "
    "tulip tunnel velvet walnut whisker",
)
CATEGORIES: dict[str, Pool[str]] = {
    "animal": pool(
        "llama,alpaca,fox,condor,puma,duck,owl,toad,mouse,rabbit,dog,donkey,sheep,horse,cow,bear,frog,"
        "bee,tiger,pig,goat,wolf,cat,lion,ant,hen",
        "otter,heron,turtle,badger,parrot",
    ),
    "color": pool("red,blue,green,yellow,white,black,brown,gray,orange,pink", "purple,violet"),
    "food": pool(
        "bread,soup,corn,cheese,rice,honey,cake,butter,apple,potato,egg,bean,carrot,onion,banana",
        "barley,yogurt,lemon,peanut",
    ),
    "tool": pool("hammer,saw,shovel,ladder,needle,knife,axe,broom,rake,drill", "wrench,chisel"),
    "piece of clothing": pool(
        "hat,coat,scarf,shirt,dress,sock,shoe,glove,belt,sweater,skirt,jacket",
        "cardigan,cap,bonnet",
    ),
    "day": Pool(DAYS),
    "fruit": pool("apple,pear,plum,grape,banana,cherry,peach,melon", "lemon,mango"),
    "body part": pool("hand,foot,nose,ear,eye,arm,leg,head,neck,knee,finger", "elbow,chin"),
    "family member": pool("mother,father,sister,brother,uncle,aunt,cousin,grandmother", "nephew"),
    "place": pool("village,town,market,school,farm,church,bridge,station,harbor", "castle,hotel"),
}


_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "ch", "sh",
           "tr", "bl", "st", "gr", "pl", "qu", "h", "j", "cl", "br")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "oo", "ou")
_CODAS = ("", "", "", "n", "r", "l", "s", "m", "x", "nd", "rt", "lk")
# Chance must not spell what nobody wants to read.
_UNWANTED = ("pus", "rape", "nig", "neg", "bum", "fag", "poo", "pee", "tit", "sex", "hom", "nazi",
             "peni", "vagi", "shit", "wan", "jap", "kil", "dik", "fuk", "kok", "sla", "slu", "hoe",
             "whor", "fart", "turd", "jew", "jis", "nud", "sperm", "gas", "die", "dead")  # fmt: skip


def made_up_word(draw: Draw) -> str:
    """Return a word that means nothing, so that copying it needs attention and not memory."""
    while True:
        word = "".join(
            draw.pick(_ONSETS) + draw.pick(_VOWELS) + draw.pick(_CODAS)
            for _ in range(draw.number(2, 3))
        )
        if not any(part in word for part in _UNWANTED):
            return word
