"""The values that a Go template works with, and how Go writes, compares and tests them.

Text, numbers, bools, None, lists and dicts are themselves; a dict is a Go map, walked in the order
of its keys. A `Struct` has fixed fields, and a `Shown` is any of these with a text of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from puna.text.meter import Meter

NO_VALUE = "<no value>"
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"} | {8: "\\b", 12: "\\f"}


class Failed(Exception):
    """The template cannot go on: a field that is not there, a wrong argument; says what."""


@dataclass(frozen=True, slots=True)
class Struct:
    """A record with fixed fields; any other field is an error."""

    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that has JSON and a printed text of its own; the text is the JSON if None."""

    value: Any
    json: Any
    text: str | None = None


def bare(value: Any) -> Any:
    """The value without the text of its own."""
    return value.value if isinstance(value, Shown) else value


def kind(value: Any) -> str:
    """What an error calls the type of a value."""
    value = bare(value)
    if isinstance(value, Struct):
        return value.kind
    names = {str: "text", bool: "bool", int: "whole number", float: "number"}
    names |= {list: "list", dict: "map", type(None): "nil"}
    return names.get(type(value), type(value).__name__)


def truth(value: Any) -> bool:
    """Go's rule: empty text, lists and maps, zero, false and nil are not true."""
    value = bare(value)
    return True if isinstance(value, Struct) else bool(value)


def field(value: Any, name: str) -> Any:
    """`value.name`; a key that a map lacks is nil.

    Raises:
        Failed: a field that the value cannot have.
    """
    value = bare(value)
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, Struct) and name in value.fields:
        return value.fields[name]
    raise Failed(f"there is no field .{name} in a {kind(value)}")


def items(value: Any) -> Iterator[tuple[Any, Any]]:
    """What `range` walks: index or key, and element.

    Raises:
        Failed: a value that has no elements.
    """
    value = bare(value)
    if value is None:
        return iter(())
    if isinstance(value, list):
        return iter(enumerate(value))
    if isinstance(value, dict):
        return iter([(key, value[key]) for key in sorted(value)])
    if isinstance(value, int) and not isinstance(value, bool):
        return ((i, i) for i in range(value))
    raise Failed(f"range cannot walk a {kind(value)}")


def written(meter: Meter, value: Any, *, top: bool = True) -> str:
    """The text of a value as Go prints it."""
    meter.tick()
    if isinstance(value, str):
        return value
    if value is None:
        return NO_VALUE if top else "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Shown):
        return value.text if value.text is not None else to_json(meter, value.json)
    return str(meter.made(_compound(meter, value)))


def _compound(meter: Meter, value: Any) -> str:
    if isinstance(value, Struct):
        parts = " ".join(written(meter, part, top=False) for part in value.fields.values())
        return f"{{{parts}}}"
    if isinstance(value, dict):
        pairs = (f"{key}:{written(meter, value[key], top=False)}" for key in sorted(value))
        return f"map[{' '.join(pairs)}]"
    return f"[{' '.join(written(meter, part, top=False) for part in value)}]"


def number(value: float) -> str:
    """A float as Go's %v writes it: the shortest that reads back."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return _float(value, low=-4, high=6)


def _float(value: float, *, low: int, high: int) -> str:
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    mantissa, _, exponent = f"{value!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, part = mantissa.lstrip("-").partition(".")
    digits = (whole + part).rstrip("0") if part != "0" else whole
    lead = len(digits) - len(digits.lstrip("0"))
    point = len(whole) + int(exponent or 0) - lead  # digits before the decimal point
    digits = digits.lstrip("0").rstrip("0")
    if low <= point - 1 < high:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        whole = digits[:point].ljust(point, "0")
        return f"{sign}{whole}{'.' + digits[point:] if digits[point:] else ''}"
    power = point - 1
    rest = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{rest}e{'-' if power < 0 else '+'}{abs(power):02d}"


def to_json(meter: Meter, value: Any) -> str:
    """JSON as Go's encoding/json writes it: no spaces, and `<`, `>` and `&` as escapes.

    Raises:
        Stop: larger than the meter allows.
    """
    parts: list[str] = []
    size = 0
    for part in _encoded(value):
        meter.tick()
        size += len(part)
        meter.check(size)
        parts.append(part)
    return str(meter.made("".join(parts)))


def _encoded(value: Any) -> Iterator[str]:
    if isinstance(value, Shown):
        yield from _encoded(value.json)
    elif isinstance(value, Struct):
        yield from _members(value.fields)
    elif isinstance(value, dict):
        yield from _members(value)
    elif isinstance(value, list):
        yield "["
        for index, part in enumerate(value):
            yield "," if index else ""
            yield from _encoded(part)
        yield "]"
    elif isinstance(value, str):
        yield json.dumps(value, ensure_ascii=False).translate(_ESCAPED)
    elif isinstance(value, float):
        yield _json_number(value)
    else:
        yield json.dumps(value)


def _members(fields: Mapping[str, Any]) -> Iterator[str]:
    yield "{"
    for index, (key, part) in enumerate(fields.items()):
        yield "," if index else ""
        yield json.dumps(key, ensure_ascii=False).translate(_ESCAPED)
        yield ":"
        yield from _encoded(part)
    yield "}"


def _json_number(value: float) -> str:
    if not math.isfinite(value):
        raise Failed("JSON has no word for a number without end")
    text = _float(value, low=-6, high=21)
    return text.replace("e-0", "e-")


def ordered(value: Any) -> Any:
    """JSON as Go decodes it into an untyped value: keys sorted, all numbers floats."""
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [ordered(part) for part in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
