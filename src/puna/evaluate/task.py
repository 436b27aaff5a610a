"""A task: rows that ask something and know the answer; read from JSONL, every key checked."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from puna.errors import DataError, UsageError
from puna.formats import read_lines
from puna.text import Message
from puna.text.messages import plain_messages

Kind = Literal["answer", "choices", "pattern", "continuation"]

_KEYS = ("messages", "prompt", "answer", "choices", "pattern", "continuation")
_ROLES = ("system", "developer", "user", "assistant", "tool")
_FORMS = "give answer, choices with answer, pattern, or continuation"


@dataclass(frozen=True, slots=True)
class Row:
    """One question, and one way to judge what comes back.

    Args:
        line: where it stands in its file, from 1.
        prompt: a conversation that the assistant goes on with, or text to be continued.
        answer: what must be said, outer whitespace aside; with `choices`, the right one of them.
        choices: what may be said; the model says the likeliest.
        pattern: a regular expression that must be found in what is said.
        continuation: text whose likelihood is measured.
        groups: other keys of the row, as text.

    Raises:
        DataError: none of these ways, or more than one; or a part that is empty.
    """

    line: int
    prompt: tuple[Message, ...] | str
    answer: str | None = None
    choices: tuple[str, ...] | None = None
    pattern: re.Pattern[str] | None = None
    continuation: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.choices is not None and self.answer is None:
            raise DataError("choices need an answer, which is one of them", remedy=_FORMS)
        given = (self.answer, self.pattern, self.continuation)
        if sum(part is not None for part in given) != 1:
            raise DataError("a row needs exactly one way to be judged", remedy=_FORMS)
        if not self.prompt:
            raise DataError("the prompt is empty", remedy="ask something")
        if self.answer is not None and not self.answer.strip():
            raise DataError("the answer is empty", remedy="write what must be said")
        if self.continuation == "":
            raise DataError("the continuation is empty", remedy="write the text to be measured")
        if self.choices is not None:
            self._check_choices(self.choices)

    def _check_choices(self, choices: tuple[str, ...]) -> None:
        if len(choices) < 2 or len(set(choices)) < len(choices) or not all(map(str.strip, choices)):
            raise DataError("choices must be two or more different texts", remedy="correct them")
        if self.answer not in choices:
            raise DataError("the answer is none of the choices", remedy="write one of them exactly")

    @property
    def kind(self) -> Kind:
        """How the row is judged."""
        if self.choices is not None:
            return "choices"
        if self.pattern is not None:
            return "pattern"
        return "continuation" if self.continuation is not None else "answer"

    def accepts(self, said: str) -> bool:
        """Return whether `said` is right, for rows that are judged by what is said."""
        if self.pattern is not None:
            return self.pattern.search(said) is not None
        return self.answer is not None and said.strip() == self.answer.strip()


@dataclass(frozen=True, slots=True)
class Task:
    """Rows under a name."""

    name: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError(f"the task {self.name} has no rows", remedy="write at least one")

    def where(self, row: Row) -> str:
        """Return the place of a row, for messages."""
        return f"{self.name}, line {row.line}"


def read_task(path: str | Path) -> Task:
    """Read a JSONL file of rows with `messages` or `prompt`, and one way to judge the answer.

    The ways are `answer`, `choices` with `answer`, `pattern` and `continuation`. Messages that
    end with the assistant's, in a row without any of these, give `answer`. Other keys are kept
    as groups.

    Raises:
        SourceError: the file is not there or cannot be read.
        DataError: a row that cannot be used, with file and line; or no rows.
    """
    path = Path(path)
    rows = []
    for line, keys in read_lines(path, what="task file"):
        try:
            rows.append(_row(line, keys))
        except (DataError, UsageError) as error:
            place = f"{path}, line {line}" + (f", {error.where}" if error.where else "")
            remedy = error.remedy or "correct the row"
            raise DataError(error.what, where=place, remedy=remedy) from None
    return Task(path.name, tuple(rows))


def _row(line: int, keys: Mapping[str, Any]) -> Row:
    if "tools" in keys:
        raise DataError("rows with tools cannot be scored", remedy="remove the key or the row")
    if ("messages" in keys) == ("prompt" in keys):
        raise DataError("a row needs either messages or prompt", remedy="give one of them")
    prompt, answer = _prompt(keys)
    return Row(
        line,
        prompt,
        answer=answer,
        choices=_choices(keys),
        pattern=_pattern(keys),
        continuation=_text(keys, "continuation"),
        groups={key: _group(value) for key, value in keys.items() if key not in _KEYS},
    )


def _prompt(keys: Mapping[str, Any]) -> tuple[tuple[Message, ...] | str, str | None]:
    answer = _text(keys, "answer")
    if "prompt" in keys:
        return _text(keys, "prompt") or "", answer
    messages = plain_messages(keys["messages"])
    for index, message in enumerate(messages):
        if message["role"] not in _ROLES:
            raise DataError(
                f"the role {message['role']!r:.40} is unknown",
                where=f"messages[{index}]",
                remedy=f"one of {', '.join(_ROLES)}",
            )
    if not messages or messages[-1]["role"] != "assistant":
        return tuple(messages), answer
    if answer is not None or "pattern" in keys or "continuation" in keys:
        raise DataError(
            "the messages end with the assistant's, and the row tells the answer as well",
            remedy="remove that message or the other answer",
        )
    return tuple(messages[:-1]), _text(messages[-1], "content")


def _text(keys: Mapping[str, Any], key: str) -> str | None:
    if key not in keys:
        return None
    value = keys[key]
    if not isinstance(value, str):
        raise DataError(f"{key} must be text", remedy=f'write "{key}": "…", in quotes')
    return value


def _choices(keys: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "choices" not in keys:
        return None
    value = keys["choices"]
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        raise DataError("choices must be a list of texts", remedy='write ["yes", "no"]')
    return tuple(value)


def _pattern(keys: Mapping[str, Any]) -> re.Pattern[str] | None:
    text = _text(keys, "pattern")
    if text is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what re warns of can be read in two ways
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise DataError(
            f"the pattern is no regular expression: {error}",
            remedy="correct it in Python's syntax; \\ must be written \\\\ in JSON",
        ) from None


def _group(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
