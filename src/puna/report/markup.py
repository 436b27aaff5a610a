"""Text made safe for markup, and elements made of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Controls, lone surrogates and non-characters have no place in a page.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# These turn the reading order around: text of a model must not rearrange the page.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """Text that is markup already; everything else is escaped."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Return text for any place in a page, attributes included."""
    if isinstance(text, Markup):
        return text
    plain = _TURNS.sub("", _UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(text)))
    return Markup(html.escape(plain, quote=True))


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Return an element; `class_` stands for class, and `_` in names for `-`."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for name, value in attributes.items()
    )
    return Markup(f"<{tag}{given}>{join(content)}</{tag}>")


def join(parts: Iterable[object]) -> Markup:
    """Return parts one after the other, escaped where they are not markup."""
    return Markup("".join(map(escape, parts)))


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
