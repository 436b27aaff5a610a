"""The functions of Go templates, and those that Ollama adds; each knows what it may cost.

`and` and `or` are the evaluator's, because they leave arguments alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from puna.text.gotmpl.values import (
    Failed,
    Struct,
    bare,
    kind,
    number,
    to_json,
    truth,
    written,
)
from puna.text.meter import Meter

_VERB = re.compile(r"%([-+# 0]*)(\d+|\*)?(?:\.(\d+|\*)?)?(.?)", re.DOTALL)
_WIDEST = 4096  # characters that one printf verb may pad to
_TYPESCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What functions may use: the meter, and the moment that the rendering is at."""

    meter: Meter
    now: datetime


def _not(_: Context, value: Any) -> bool:
    return not truth(value)


def _len(_: Context, value: Any) -> int:
    value = bare(value)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise Failed(f"len of a {kind(value)}")


def _index(_: Context, value: Any, *keys: Any) -> Any:
    for key in keys:
        value, key = bare(value), bare(key)
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise Failed(f"index of a map with a {kind(key)}")
            value = value.get(key)
        elif isinstance(value, list | str):
            parts = list(value.encode()) if isinstance(value, str) else value
            value = parts[_within(key, len(parts) - 1)]
        else:
            raise Failed(f"index of a {kind(value)}")
    return value


def _within(key: Any, last: int) -> int:
    if isinstance(key, bool) or not isinstance(key, int):
        raise Failed(f"index with a {kind(key)}")
    if not 0 <= key <= last:
        raise Failed(f"the index {key} is out of range")
    return key


def _slice(context: Context, value: Any, *ends: Any) -> Any:
    value = bare(value)
    if len(ends) > 3 or (isinstance(value, str) and len(ends) > 2):
        raise Failed("slice takes at most a start and an end")
    if not isinstance(value, list | str):
        raise Failed(f"slice of a {kind(value)}")
    data: Any = value.encode() if isinstance(value, str) else value
    at = [_within(bare(end), len(data)) for end in ends]
    start, end = (*at, len(data))[:2] if at else (0, len(data))
    if start > end:
        raise Failed(f"slice from {start} to {end}")
    part = data[start:end]
    return context.meter.made(part.decode(errors="replace") if isinstance(part, bytes) else part)


def _eq(_: Context, first: Any, *others: Any) -> bool:
    if not others:
        raise Failed("eq needs two arguments")
    return any(_same(first, other) for other in others)


def _ne(_: Context, first: Any, second: Any) -> bool:
    return not _same(first, second)


def _same(one: Any, two: Any) -> bool:
    one, two = _basic(one), _basic(two)
    if one is None or two is None:
        return one is two
    if type(one) is not type(two):
        raise Failed(f"a {kind(one)} is compared with a {kind(two)}")
    return bool(one == two)


def _basic(value: Any) -> Any:
    value = bare(value)
    if isinstance(value, Struct | list | dict):
        raise Failed(f"a {kind(value)} cannot be compared")
    return value


def _less(one: Any, two: Any) -> bool:
    one, two = _basic(one), _basic(two)
    if type(one) is not type(two) or not isinstance(one, str | int | float):
        raise Failed(f"a {kind(one)} is ordered against a {kind(two)}")
    if isinstance(one, bool):
        raise Failed(f"a {kind(one)} is ordered against a {kind(two)}")
    return bool(one < two)


def _lt(_: Context, one: Any, two: Any) -> bool:
    return _less(one, two)


def _le(_: Context, one: Any, two: Any) -> bool:
    return _less(one, two) or _same(one, two)


def _gt(_: Context, one: Any, two: Any) -> bool:
    return not (_less(one, two) or _same(one, two))


def _ge(_: Context, one: Any, two: Any) -> bool:
    return not _less(one, two)


def _print(context: Context, *values: Any) -> str:
    parts: list[str] = []
    text = True
    for index, value in enumerate(values):
        is_text = isinstance(value, str)
        if index and not text and not is_text:
            parts.append(" ")
        parts.append(written(context.meter, value, top=False))
        text = is_text
    return _joined(context.meter, parts, "")


def _println(context: Context, *values: Any) -> str:
    parts = [written(context.meter, value, top=False) for value in values]
    return _joined(context.meter, [_joined(context.meter, parts, " "), "\n"], "")


def _joined(meter: Meter, parts: Sequence[str], between: str) -> str:
    meter.check(sum(map(len, parts)) + len(parts) * len(between))
    return str(meter.made(between.join(parts)))


def _printf(context: Context, template: Any, *values: Any) -> str:
    if not isinstance(template, str):
        raise Failed(f"printf with a {kind(template)} in place of its format")
    left = list(values)
    parts = []
    at = size = 0
    for found in _VERB.finditer(template):
        part = template[at : found.start()] + _verb(context, found, left)
        at = found.end()
        size += len(part)
        context.meter.check(size)
        parts.append(part)
    if left:
        raise Failed(f"printf has {len(left)} arguments more than {template[:40]!r} has verbs")
    parts.append(template[at:])
    return _joined(context.meter, parts, "")


def _verb(context: Context, found: re.Match[str], left: list[Any]) -> str:
    context.meter.tick()
    flags, wide, precise, verb = found.groups()
    if verb == "%":
        return "%"
    if "*" in (wide, precise) or len(wide or "") > 5 or len(precise or "") > 5:
        raise Failed(f"printf pads as {found[0][:20]!r}")
    width, precision = int(wide or 0), None if precise is None else int(precise)
    if max(width, precision or 0) > _WIDEST:
        raise Failed(f"printf pads to more than {_WIDEST} characters")
    if not left:
        raise Failed(f"printf has no argument for {found[0]!r}")
    text = _formatted(context.meter, verb, flags, precision, left.pop(0))
    fill = "0" if "0" in flags and "-" not in flags and verb in "dfgeEGxXob" else " "
    if fill == "0" and text[:1] in {"-", "+"}:
        return text[0] + text[1:].rjust(width - 1, "0")
    return text.ljust(width) if "-" in flags else text.rjust(width, fill)


def _formatted(meter: Meter, verb: str, flags: str, precision: int | None, value: Any) -> str:
    plain = bare(value)
    if verb in "sv":
        # %s of anything but text is a mistake in Go, unless the value has a text of its own.
        if verb == "s" and not isinstance(plain, str | list | dict | Struct):
            raise Failed(f"printf %s of a {kind(plain)}")
        return written(meter, value, top=False)[: precision if verb == "s" else None]
    if verb == "q" and isinstance(plain, str):
        return json.dumps(plain, ensure_ascii=False)
    if verb == "t" and isinstance(plain, bool):
        return "true" if plain else "false"
    sign = "+" if "+" in flags else " " if " " in flags else ""
    if isinstance(plain, int) and not isinstance(plain, bool):
        if verb in "dxXob":
            return format(plain, sign + verb)
        if verb == "c" and 0 <= plain < 0x110000 and not 0xD800 <= plain < 0xE000:
            return chr(plain)
    if isinstance(plain, float) and verb in "feEgG":
        if verb in "gG" and precision is None:
            return number(plain)
        return format(plain, f"{sign}.{6 if precision is None else precision}{verb}")
    raise Failed(f"printf %{verb} of a {kind(plain)}")


def _json(context: Context, value: Any) -> str:
    return to_json(context.meter, value)


def _current_date(context: Context, *_: Any) -> str:
    return f"{context.now:%Y-%m-%d}"


def _yesterday(context: Context, *_: Any) -> str:
    return f"{context.now - timedelta(days=1):%Y-%m-%d}"


def _typescript(context: Context, value: Any) -> str:
    """The TypeScript type of a tool's parameter."""
    value = bare(value)
    if not isinstance(value, Struct) or "AnyOf" not in value.fields:
        return "any"
    context.meter.tick()
    choices = bare(value.fields["AnyOf"])
    if choices:
        return _joined(context.meter, [_typescript(context, c) for c in choices], " | ")
    kinds = bare(value.fields["Type"])
    return " | ".join(_TYPESCRIPT.get(name, "any") for name in kinds) or "any"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "not": _not,
    "len": _len,
    "index": _index,
    "slice": _slice,
    "eq": _eq,
    "ne": _ne,
    "lt": _lt,
    "le": _le,
    "gt": _gt,
    "ge": _ge,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "json": _json,
    "currentDate": _current_date,
    "yesterdayDate": _yesterday,
    "toTypeScriptType": _typescript,
}
NAMES = frozenset({*FUNCTIONS, "and", "or"})


def call(context: Context, name: str, arguments: Sequence[Any]) -> Any:
    """Calls a function by name.

    Raises:
        Failed: arguments that it cannot take.
        Stop: a result that is too large.
    """
    context.meter.tick()
    for value in arguments:
        if isinstance(value, str):
            context.meter.weigh(value)
    try:
        return FUNCTIONS[name](context, *arguments)
    except TypeError:
        raise Failed(f"{name} takes another number of arguments than {len(arguments)}") from None
