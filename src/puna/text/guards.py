"""Sizes of results before they are made: the filters, methods and operators that can grow.

Each `check_*` takes the arguments of what it guards and the largest size allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from puna.text.meter import Meter, Stop

_PRINTF = re.compile(r"[#0 +-]*(\*|\d+)?(?:\.(\*|\d+)?)?.?", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_PADDED_DATE = re.compile(r"%[^a-zA-Z%]*\d{2}")
_LONGEST_PATH = 200  # characters of an attribute path such as "function.name"
_WIDEST_INDENT = 64
_MOST_FIELDS = 10_000  # of one str.format, which runs in Python
_PIECE = 8  # what one more element of a list weighs, in characters
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

# Not needed in a chat template, and each a way to spend much time or memory in one step.
DENIED_FILTERS = frozenset({"pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"})
DENIED_METHODS = frozenset(
    {
        "encode",
        "translate",
        "maketrans",
        "to_bytes",
        "from_bytes",
        "fromhex",
        "striptags",
        "unescape",
    }
)


def check_operator(meter: Meter, operator: str, left: Any, right: Any) -> None:
    """Refuses `left operator right` if the result would be too large."""
    if operator == "*":
        _check_times(meter, left, right)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        if right > 0 and int(left).bit_length() * right > 128:
            raise Stop("it makes a whole number of more than 64 bits")
    elif operator == "+" and not isinstance(left, int | float):
        meter.check(meter.weigh(left) + meter.weigh(right))
    elif operator == "%" and isinstance(left, str):
        check_printf(meter, left, right)


def _check_times(meter: Meter, left: Any, right: Any) -> None:
    for value, count in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(count, int):
            meter.check(meter.weigh(value) * max(count, 0))


def check_printf(meter: Meter, template: str, arguments: Any) -> None:
    """Refuses `template % arguments` if the result would be too large."""
    count = widths = at = 0
    while (at := template.find("%", at) + 1) > 0:
        if template.startswith("(", at):
            close = template.find(")", at)
            if close < 0 or "(" in template[at + 1 : close]:
                raise Stop("it formats with a key that has brackets in it")
            at = close + 1
        found = _PRINTF.match(template, at)
        numbers = found.groups() if found else ()
        if "*" in numbers:
            raise Stop("it takes the width of a % format from its arguments")
        count += 1
        widths += sum(_number(meter, number) for number in numbers)
        at = found.end() if found else at
    meter.check(len(template) + widths + count * meter.weigh(arguments))


def check_format(
    meter: Meter, template: str, arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Refuses `template.format(*arguments, **named)` if the result would be too large."""
    size = meter.weigh(arguments) + meter.weigh(dict(named))
    fields = template.count("{")
    if fields > _MOST_FIELDS:
        raise Stop(f"it formats more than {_MOST_FIELDS:,} fields at once")
    meter.check(len(template) + fields * size)


def check_format_spec(meter: Meter, spec: str) -> None:
    """Refuses a format specification such as `:1000000000` that pads too far."""
    for number in _NUMBER.findall(spec):
        meter.check(_number(meter, number))


def _number(meter: Meter, digits: str | None) -> int:
    if not digits:
        return 0
    if len(digits) > 12:
        meter.check(float("inf"))
    return int(digits)


def check_date_format(template: str) -> None:
    """Refuses a date format that is long or pads, as in `%1000000000d`."""
    if len(template) > _LONGEST_PATH or _PADDED_DATE.search(template):
        raise Stop("it gives strftime_now a format that is too long")


def check_indent(indent: int | str | None) -> None:
    """Refuses an indent of JSON that is itself large."""
    wide = len(indent) if isinstance(indent, str) else _whole(indent)
    if wide > _WIDEST_INDENT:
        raise Stop(f"it indents JSON by more than {_WIDEST_INDENT} characters")


def check_method(
    meter: Meter, text: str, name: str, args: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Refuses `text.name(*args, **named)` if the result would be too large."""
    first = next(iter((*args, *named.values())), None)
    if name in {"center", "ljust", "rjust", "zfill"}:
        meter.check(_whole(first))
    elif name == "expandtabs":
        meter.check(len(text) + text.count("\t") * _whole(8 if first is None else first))
    elif name in {"split", "rsplit", "splitlines"}:
        meter.check(len(text) + _PIECE * _pieces(text, name, named.get("sep", *args[:1])))
    elif name == "join" and args:
        meter.spread(first)
        meter.check(meter.weigh(first) + _length(first) * len(text))
    elif name == "replace" and len(args) >= 2:
        _check_replace(meter, text, args[0], args[1])


def _pieces(text: str, name: str, separator: Any = None) -> int:
    """How many pieces a text can be split into, at most."""
    if name == "splitlines":
        return 1 + sum(map(text.count, _LINE_ENDS))
    if isinstance(separator, str) and separator:
        return 1 + text.count(separator)
    return 1 + len(text) // 2


def _check_replace(meter: Meter, text: str, old: Any, new: Any) -> None:
    old, new = str(old), str(new)
    meter.check(len(text) + (text.count(old) if old else len(text) + 1) * len(new))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 0


def _center(meter: Meter, value: Any, width: Any = 80) -> None:
    meter.check(_whole(width))


def _indent(meter: Meter, s: Any, width: Any = 4, first: Any = False, blank: Any = False) -> None:
    text = str(s)
    wide = len(width) if isinstance(width, str) else _whole(width)
    meter.check(len(text) + (len(text.splitlines()) + 1) * max(wide, 0))


def _join(meter: Meter, value: Any, d: Any = "", attribute: Any = None) -> None:
    _path(attribute)
    meter.spread(value)
    meter.check(meter.weigh(value) + _length(value) * len(str(d)))


def _replace(meter: Meter, s: Any, old: Any, new: Any, count: Any = None) -> None:
    _check_replace(meter, str(s), old, new)


def _printf(meter: Meter, value: Any, *args: Any, **kwargs: Any) -> None:
    check_printf(meter, str(value), kwargs or args)


def _batch(meter: Meter, value: Any, linecount: Any, fill_with: Any = None) -> None:
    meter.spread(value)
    meter.check(abs(_whole(linecount)) * (8 + meter.weigh(fill_with)))


def _slice(meter: Meter, value: Any, slices: Any, fill_with: Any = None) -> None:
    meter.spread(value)
    meter.check(abs(_whole(slices)) * (8 + meter.weigh(fill_with)))


def _round(meter: Meter, value: Any, precision: Any = 0, method: Any = "common") -> None:
    if abs(_whole(precision)) > 300:
        raise Stop("it rounds to more than 300 digits")


def _sum(meter: Meter, iterable: Any, attribute: Any = None, start: Any = 0) -> None:
    _path(attribute)
    if not isinstance(start, int | float):
        raise Stop("it sums something other than numbers")


def _spread(meter: Meter, value: Any, *args: Any, **kwargs: Any) -> None:
    meter.spread(value)


def _by_attribute(meter: Meter, value: Any, *args: Any, **kwargs: Any) -> None:
    meter.spread(value)
    for argument in (*args, kwargs.get("attribute")):
        _path(argument)


def _path(attribute: Any) -> None:
    if isinstance(attribute, str) and len(attribute) > _LONGEST_PATH:
        raise Stop(f"it names an attribute of more than {_LONGEST_PATH} characters")


CHECKS: dict[str, Callable[..., None]] = {
    "batch": _batch,
    "center": _center,
    "format": _printf,
    "groupby": _by_attribute,
    "indent": _indent,
    "join": _join,
    "list": _spread,
    "map": _by_attribute,
    "max": _by_attribute,
    "min": _by_attribute,
    "rejectattr": _by_attribute,
    "replace": _replace,
    "round": _round,
    "selectattr": _by_attribute,
    "slice": _slice,
    "sort": _by_attribute,
    "sum": _sum,
    "title": _spread,
    "unique": _by_attribute,
    "urlencode": _spread,
    "wordcount": _spread,
}
