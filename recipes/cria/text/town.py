"""Everyday prose for pretraining: the words of shops, parcels, machines and homes in their company."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.core import Draw, Pool, Prose, Script, tell
from text.town_home import HOME_SCRIPTS
from text.town_shop import SHOP_SCRIPTS
from text.words import (
    COLORS,
    DAYS,
    GOOD_NAMES,
    GOODS,
    GRASSLAND_ANIMALS,
    MONTHS,
    NAMES,
    PEOPLE,
    SHOPS,
    VILLAGES,
    Good,
)

SCRIPTS: tuple[Script, ...] = SHOP_SCRIPTS + HOME_SCRIPTS
_DEVICES: Pool[Good] = Pool(
    tuple(good for good in GOODS.train if good.kind == "device"),
    tuple(good for good in GOODS.held if good.kind == "device"),
)


def town_slots(draw: Draw) -> dict[str, object]:
    """Return the words of one everyday episode: two people, goods, a shop, days and numbers."""
    one, two = draw.different(PEOPLE, 2)
    item, item2 = draw.different(GOODS, 2)
    shop = draw.word(SHOPS)
    price = draw.number(3, 99)
    day, day2 = draw.some(DAYS, 2)
    color, color2 = draw.different(COLORS, 2)
    hour = draw.number(7, 11)
    return {
        **one.slots,
        "name_low": one.name.lower(),
        "other": two.name,
        "item": item.name,
        "item2": item2.name,
        "device": draw.word(_DEVICES).name,
        "shop": shop,
        "shop_name": shop.removeprefix("the ").title(),
        "price": price,
        "price2": price + draw.number(2, 40),
        "day": day,
        "day2": day2,
        "color": color,
        "color2": color2,
        "village": draw.word(VILLAGES),
        "number": draw.number(1000, 99999),
        "small": draw.number(3, 60),
        "animal": draw.word(GRASSLAND_ANIMALS),
        "month": draw.pick(MONTHS),
        "hour": hour,
        "hour2": hour + draw.number(1, 3),
    }


def make_town(draw: Draw) -> str:
    """Return one everyday text."""
    return tell(draw, draw.pick(SCRIPTS), **town_slots(draw))


TOWN_PROSE = Prose(
    "town",
    0.38,
    make_town,
    tuple(template for script in SCRIPTS for template in script.templates),
    (NAMES, GOOD_NAMES, SHOPS, VILLAGES, COLORS),
)
