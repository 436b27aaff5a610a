"""Training rows from JSONL: conversations and plain text, every complaint with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.errors import DataError
from puna.formats import read_lines
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


def read_examples(path: Path) -> list[Example]:
    """Return the rows of a JSONL file: `{"messages": […]}` or `{"text": "…"}`; other keys pass.

    Raises:
        SourceError: no such file.
        DataError: a line that is no such row or teaches nothing, with file and line; or no rows.
    """
    return [
        _example(row, f"{path}, line {line}") for line, row in read_lines(path, what="data set")
    ]


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
