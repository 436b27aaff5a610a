"""What an answer may look like: small records, checked here and compiled in `constrain`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from puna.errors import UsageError

# A larger text is no grammar that somebody wrote, and compiling takes time.
_MOST_CHARACTERS = 1 << 20
_DEEPEST = 64
# Whole numbers are read as 64 bits; a double holds powers of ten up to this exactly.
_WHOLE, _POWER = 1 << 63, 22


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that a schema allows (json-schema.org, drafts 4 to 2020-12).

    Written on one line as `json.dumps` does, `", "` and `": "` between the parts, the properties
    in the schema's order.
    """

    text: str

    @classmethod
    def of(cls, schema: Any) -> JsonSchema:
        """Check a schema, as an object or as JSON.

        Raises:
            UsageError: it is no schema, or uses a keyword that is not supported; names it.
        """
        value = _parsed(schema) if isinstance(schema, str) else schema
        if value is True:
            value = {}
        if not isinstance(value, Mapping):
            raise UsageError("schema must be a JSON object", where="schema")
        _check_schema(value, "", 0)
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"schema is not JSON: {error}", where="schema") from None
        _check_size(text, "schema")
        return cls(text)


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression matches from end to end; no look-around."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lark:
    """Text of a context-free grammar in Lark's notation; `start` is its first rule."""

    text: str


Grammar = JsonSchema | Regex | Choice | Lark


def grammar_of(
    *,
    schema: Any = None,
    regex: str | None = None,
    choice: Sequence[str] | None = None,
    grammar: str | None = None,
) -> Grammar | None:
    """Return the grammar that one of these asks for, or None where none does.

    Raises:
        UsageError: more than one is given, or one that cannot be meant.
    """
    forms = {"schema": schema, "regex": regex, "choice": choice, "grammar": grammar}
    given = [name for name, form in forms.items() if form is not None]
    if len(given) > 1:
        raise UsageError(f"give one of {' and '.join(given)}, not both", where=given[1])
    if schema is not None:
        return JsonSchema.of(schema)
    if regex is not None:
        return Regex(_text(regex, "regex"))
    if choice is not None:
        return Choice(_choices(choice))
    return None if grammar is None else Lark(_text(grammar, "grammar"))


# What each keyword holds; JSON Schema core and validation, 2020-12, and what drafts 4 to 7 had.
_ONE = frozenset({"additionalItems", "additionalProperties", "items"})
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_NAMED = frozenset({"$defs", "definitions", "patternProperties", "properties"})
_PLAIN = frozenset(
    {
        *("$anchor", "$id", "$ref", "$schema", "const", "enum", "exclusiveMaximum"),
        *("exclusiveMinimum", "format", "id", "maxItems", "maxLength", "maxProperties", "maximum"),
        *("minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern"),
        *("required", "type"),
    }
)
# Say something about a value, and do not change which values there are.
_NOTES = frozenset(
    {
        *("$comment", "contentEncoding", "contentMediaType", "contentSchema", "default"),
        *("deprecated", "description", "discriminator", "example", "examples", "readOnly"),
        *("title", "writeOnly"),
    }
)


def _check_schema(schema: Any, place: str, depth: int) -> None:
    """Refuse keywords that would be passed over in silence."""
    if depth > _DEEPEST:
        raise UsageError(f"schema is nested deeper than {_DEEPEST} levels", where="schema")
    if not isinstance(schema, Mapping):  # true and false; the compiler refuses what is neither
        return
    for name, value in schema.items():
        here = f"{place}.{name}" if place else str(name)
        if name not in _ONE | _MANY | _NAMED | _PLAIN | _NOTES and not _note(name):
            raise UsageError(
                f"schema: the keyword {str(name)!r:.60} is not supported", where=f"schema.{here}"
            )
        if name in _PLAIN:
            _check_numbers(value, f"schema.{here}", depth)
        if name == "enum":
            _check_once(value, f"schema.{here}")
        for inner, child in _inner(name, value):
            _check_schema(child, f"{here}{inner}", depth + 1)


def _check_numbers(value: Any, place: str, depth: int) -> None:
    """Refuse numbers that the compiler would change in silence."""
    if depth > _DEEPEST:
        raise UsageError(f"schema is nested deeper than {_DEEPEST} levels", where="schema")
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check_numbers(item, place, depth + 1)
    elif isinstance(value, int | float) and not _exact(value):
        raise UsageError(
            f"schema: the number {value!r:.40} cannot be kept to exactly",
            where=place,
            remedy="leave it out, or give it fewer digits",
        )


def _check_once(values: Any, place: str) -> None:
    """Refuse a number that stands twice: the compiler breaks off at 1 and 1.0."""
    seen = set()
    for number in values if isinstance(values, list) else ():
        if type(number) not in (int, float):
            continue
        if number in seen:
            raise UsageError(
                f"schema: the number {number!r:.40} stands more than once in an enum",
                where=place,
                remedy="keep one of them",
            )
        seen.add(number)


def _exact(number: float) -> bool:
    """Tell whether a number survives being read with one product of doubles (Clinger 1990)."""
    if isinstance(number, int):
        digits, power = abs(number), 0
    elif math.isfinite(number):
        parts = Decimal(repr(number)).as_tuple()  # as JSON writes it, zeros at the end included
        digits, power = int("".join(map(str, parts.digits))), int(parts.exponent)
    else:
        return True  # and refused as what JSON does not have
    return digits < _WHOLE and int(float(digits)) == digits and abs(power) <= _POWER


def _inner(name: str, value: Any) -> list[tuple[str, Any]]:
    """Return the schemas within a keyword's value, with their places."""
    if name in _NAMED and isinstance(value, Mapping):
        return [(f".{key}", child) for key, child in value.items()]
    if name in _MANY and isinstance(value, Sequence) and not isinstance(value, str):
        return [(f"[{index}]", child) for index, child in enumerate(value)]
    return [("", value)] if name in _ONE else []


def _note(name: object) -> bool:
    return isinstance(name, str) and name.startswith("x-") and name != "x-guidance"


def _parsed(text: str) -> Any:
    _check_size(text, "schema")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"schema is not JSON: {error}", where="schema") from None


def _choices(texts: Any) -> tuple[str, ...]:
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
        raise UsageError("choice must be a list of at least one text", where="choice")
    if any(not isinstance(text, str) or not text for text in texts):
        raise UsageError("choice: each must be a text of at least one character", where="choice")
    _check_size("".join(texts), "choice")
    return tuple(texts)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a text, not {value!r:.40}", where=name)
    _check_size(value, name)
    return value


def _check_size(text: str, name: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(
            f"{name} has {len(text):,} characters; at most {_MOST_CHARACTERS:,} are read",
            where=name,
        )
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise UsageError(f"{name} holds a lone surrogate, which is no text", where=name)
