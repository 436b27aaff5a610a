"""Training rows from JSONL: conversations and plain text, every complaint with file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.errors import DataError, SourceError
from puna.text import Message

_ROLES = ("system", "user", "assistant", "tool", "developer")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, and the tools their template is shown; what the assistant says is learned."""

    messages: tuple[Message, ...]
    where: str
    tools: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """Plain text, all of it learned."""

    text: str
    where: str


Example = Conversation | Passage


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file and line, JSON object) for every line that is not blank.

    Raises:
        SourceError: no such file.
        DataError: a line that is not UTF-8 or not a JSON object, with its number; or no rows.
    """
    found = False
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    found = True
                    where = f"{path}, line {number}"
                    yield where, _object(raw, where)
    except OSError as error:
        raise SourceError(f"cannot read the data: {error.strerror}", where=str(path)) from error
    if not found:
        raise DataError("the data set is empty", where=str(path), remedy="one JSON object per line")


def read_examples(path: Path) -> list[Example]:
    """Return the rows of a JSONL file: `{"messages": […]}` or `{"text": "…"}`; other keys pass.

    Raises:
        SourceError, DataError: as `read_rows`, and rows that teach nothing.
    """
    return [_example(row, where) for where, row in read_rows(path)]


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"this line is not UTF-8: {error.reason}", where=where, remedy="save the file as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"this line is not JSON: {error.msg}, column {error.colno}",
            where=where,
            remedy="one JSON object per line, without line breaks inside",
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"this line is not readable JSON: {error}", where=where) from error
    if not isinstance(value, dict):
        raise DataError("this line is not a JSON object", where=where)
    return value


def _example(row: Mapping[str, Any], where: str) -> Example:
    if ("messages" in row) == ("text" in row):
        raise DataError(
            "a row needs either messages or text",
            where=where,
            remedy='{"messages": [{"role": "user", "content": "…"}, '
            '{"role": "assistant", "content": "…"}]}',
        )
    if "text" in row:
        if not isinstance(row["text"], str) or not row["text"]:
            raise DataError("text must be a string that is not empty", where=where)
        return Passage(row["text"], where)
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise DataError("messages must be a list that is not empty", where=where)
    for message in messages:
        _check_message(message, where)
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(
            "this conversation has no assistant turn, so nothing can be learned from it",
            where=where,
            remedy="add the answer, or remove the row",
        )
    tools = row.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise DataError("tools must be a list", where=where)
    return Conversation(tuple(messages), where, tuple(tools) if tools else None)


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise DataError("each message must be an object with role and content", where=where)
    role = message.get("role")
    if role not in _ROLES:
        raise DataError(
            f"the role {role!r:.40} is unknown", where=where, remedy=f"one of {', '.join(_ROLES)}"
        )
    if "weight" in message:
        raise DataError(
            "weights of single messages are not supported", where=where, remedy="remove the key"
        )
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return
    if not isinstance(content, str | list):
        raise DataError(f"the {role} message has no content", where=where)
