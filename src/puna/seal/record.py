"""The record of a seal, and its JSON: parsed as a stranger's, since it travels with the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from puna.errors import FormatError
from puna.seal.bits import is_format

VERSION = 1
# More than any seal has: of prompts, of ids and rows in one, of ids in a row, of anything else.
_PROMPTS, _IDS, _ROWS, _TOP, _MOST = 32, 256, 32, 64, 1 << 14
_DIGITS = 7  # of a log probability
_LONGEST, _DEEPEST, _LARGEST = 1 << 14, 8, 1 << 62
T = TypeVar("T")
Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """What a model thinks after the token at position `at`: its likeliest next ids, best first.

    `logprobs` are the natural logarithms of their probabilities.
    """

    at: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden prompt with the ids it had, and rows at some of its positions.

    It is a `text`, or `messages` of a chat; with neither, only the ids are golden. `answered`
    messages end with the answer, others where the assistant speaks next. `base` has the rows of
    the model without its adapter.
    """

    name: str
    ids: tuple[int, ...]
    rows: tuple[Row, ...]
    text: str | None = None
    messages: tuple[Message, ...] = ()
    answered: bool = False
    base: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """How sure the model is to end its answers where the `examples` it learned from end.

    `probability` is the median of what the stop token `id` had there.
    """

    id: int
    probability: float
    examples: int


@dataclass(frozen=True, slots=True)
class Seal:
    """What a saved model is held against.

    Args:
        name: of the model, or of the adapter's base.
        dtype: what it was in when the rows were taken.
        prompts: golden prompts.
        digests: of what makes text into ids and back: SHA-256 by file name, or by key of a GGUF
            file; of weights as well, in a folder.
        axes: of the decoder, and the ids that begin and end a text, as plain values.
        stored: the number format of the weights beside the seal, such as `bfloat16` or `Q4_0`.
        stop: of a model that was tuned here.
        made_by: versions of what made it.
    """

    name: str
    dtype: str
    prompts: tuple[Golden, ...]
    digests: Mapping[str, str]
    axes: Mapping[str, Any]
    stored: str
    stop: Stop | None = None
    made_by: Mapping[str, str] | None = None

    def base(self) -> Seal | None:
        """Return what the model without its adapter is held against; None for a whole model."""
        rows = tuple(replace(golden, rows=golden.base, base=()) for golden in self.prompts)
        if not all(golden.rows for golden in rows):
            return None
        return replace(self, prompts=rows, digests={}, stop=None)

    def to_json(self) -> dict[str, Any]:
        """Return the seal as plain JSON values; empty fields are left out, numbers are rounded."""
        body = {"seal": VERSION, **asdict(self)}
        body["prompts"] = [_full(asdict(golden)) for golden in self.prompts]
        for golden in body["prompts"]:
            for row in (*golden["rows"], *golden.get("base", ())):
                row["logprobs"] = [round(value, _DIGITS) for value in row["logprobs"]]
        return _full(body)


def _full(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None and v != () and v is not False}


def from_json(value: Any, where: str) -> Seal:
    """Return the seal that `to_json` gave.

    Args:
        value: any JSON value.
        where: it stands, for errors.

    Raises:
        FormatError: it is none; names the field.
    """
    read = _Reader(where)
    fields = read.table(value, "seal")
    if type(fields.get("seal")) is not int or fields["seal"] != VERSION:
        raise FormatError(
            f"this seal is of form {fields.get('seal')!r:.40}, and form {VERSION} is known",
            where=where,
            remedy="use the version of Puna that wrote it, or seal again: puna verify --record",
        )
    prompts = read.each(fields.get("prompts"), "prompts", read.golden, most=_PROMPTS)
    if not prompts or len({golden.name for golden in prompts}) < len(prompts):
        raise read.wrong("prompts")
    stop = fields.get("stop")
    return Seal(
        name=read.word(fields.get("name"), "name"),
        dtype=read.format(fields.get("dtype"), "dtype"),
        prompts=prompts,
        digests=read.texts(fields.get("digests", {}), "digests"),
        axes=read.axes(fields.get("axes")),
        stored=read.format(fields.get("stored"), "stored"),
        stop=None if stop is None else read.stop(stop),
        made_by=read.texts(fields.get("made_by", {}), "made_by"),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    where: str

    def wrong(self, field: str) -> FormatError:
        return FormatError(
            f"the seal is damaged at {field!r:.80}",
            where=self.where,
            remedy="get it again, or remove it and seal the model anew: puna verify --record",
        )

    def table(self, value: Any, field: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(field)
        return value

    def text(self, value: Any, field: str) -> str:
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise self.wrong(field)
        return value

    def word(self, value: Any, field: str) -> str:
        """Return a text that is shown as it is."""
        if not self.text(value, field).isprintable():
            raise self.wrong(field)
        return str(value)

    def format(self, value: Any, field: str) -> str:
        if not is_format(self.text(value, field)):
            raise self.wrong(field)
        return str(value)

    def texts(self, value: Any, field: str) -> dict[str, str]:
        table = self.table(value, field)
        if len(table) > _MOST:
            raise self.wrong(field)
        return {self.word(key, field): self.text(part, field) for key, part in table.items()}

    def whole(self, value: Any, field: str) -> int:
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise self.wrong(field)
        return value

    def number(self, value: Any, field: str) -> float:
        if type(value) is int and abs(value) < _LARGEST:
            return float(value)
        if type(value) is not float or not math.isfinite(value):
            raise self.wrong(field)
        return value

    def axes(self, value: Any) -> Mapping[str, Any]:
        self.plain(value, depth=0)
        return self.table(value, "axes")

    def plain(self, value: Any, depth: int) -> None:
        """See that a value is of numbers, texts and a few levels of lists and tables of them."""
        if isinstance(value, dict | list) and depth < _DEEPEST and len(value) <= _MOST:
            for part in (*value, *value.values()) if isinstance(value, dict) else value:
                self.plain(part, depth + 1)
        elif isinstance(value, int | float):
            self.number(float(value) if isinstance(value, bool) else value, "axes")
        elif value is not None:
            self.word(value, "axes")

    def each(
        self, value: Any, field: str, read: Callable[[Any, str], T], *, most: int = _MOST
    ) -> tuple[T, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > most:
            raise self.wrong(field)
        return tuple(read(part, field) for part in value)

    def golden(self, value: Any, field: str) -> Golden:
        fields = self.table(value, field)
        ids = self.each(fields.get("ids"), "ids", self.whole, most=_IDS)
        text = fields.get("text")
        golden = Golden(
            name=self.word(fields.get("name"), "name"),
            ids=ids,
            rows=self.each(fields.get("rows"), "rows", self.row, most=_ROWS),
            text=None if text is None else self.text(text, "text"),
            messages=self.each(fields.get("messages", ()), "messages", self.texts),
            answered=fields.get("answered") is True,
            base=self.each(fields.get("base", ()), "base", self.row, most=_ROWS),
        )
        if not golden.rows or max(row.at for row in (*golden.rows, *golden.base)) >= len(ids):
            raise self.wrong(f"rows of {golden.name}")
        return golden

    def row(self, value: Any, field: str) -> Row:
        fields = self.table(value, field)
        ids = self.each(fields.get("ids"), "ids", self.whole, most=_TOP)
        logprobs = self.each(fields.get("logprobs"), "logprobs", self.number, most=_TOP)
        good = len(ids) == len(logprobs) == len(set(ids)) > 0
        if not good or max(logprobs) > 0 or sum(map(math.exp, logprobs)) > 1.001:
            raise self.wrong(field)
        return Row(self.whole(fields.get("at"), "at"), ids, logprobs)

    def stop(self, value: Any) -> Stop:
        fields = self.table(value, "stop")
        probability = self.number(fields.get("probability"), "probability")
        if not 0 <= probability <= 1:
            raise self.wrong("probability")
        return Stop(
            self.whole(fields.get("id"), "id"),
            probability,
            self.whole(fields.get("examples"), "examples"),
        )
