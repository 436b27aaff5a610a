"""Conversations as they come in, checked and copied into plain values for the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from puna.errors import UsageError

Message = Mapping[str, Any]
_DEPTH = 60  # of JSON in a message or tool; published schemas have about ten
_REASONING = ("reasoning_content", "thinking", "reasoning")
_TAKEN = {
    "messages": "pass the messages themselves",
    "tools": "pass the tools themselves",
    "add_generation_prompt": "say it as add_generation_prompt",
    "strftime_now": "fix the moment with now",
    "raise_exception": "leave it out",
}


def plain_messages(
    messages: Sequence[Message], *, joins: str | None = "\n", developer: bool = False
) -> list[dict[str, Any]]:
    """Checks a conversation and copies it into dicts, lists, text and numbers.

    Args:
        messages: the conversation, as the OpenAI API writes it.
        joins: what joins content that is a list of parts; None leaves the list as it is.
        developer: leave the role `developer` as it is; else it becomes `system`.

    Raises:
        UsageError: not a list of messages, or a message without role or content; says which.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise UsageError(
            f"messages must be a list, not {type(messages).__name__}",
            remedy='write [{"role": "user", "content": "…"}]',
        )
    copies = [_message(message, index, joins) for index, message in enumerate(messages)]
    for copy in copies:
        if copy["role"] == "developer" and not developer:
            copy["role"] = "system"
    return copies


def with_reasoning(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies messages with their reasoning under the names that templates read it by.

    `reasoning_content` is the usual one, gpt-oss reads `thinking`; as the reference library does.
    """
    copies = []
    for message in messages:
        given = [message[name] for name in _REASONING if message.get(name) is not None]
        if given:
            message = {"thinking": given[0], **message, "reasoning_content": given[0]}
        copies.append(message)
    return copies


def plain_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[Any] | None:
    """Checks and copies tool descriptions (JSON schemas).

    Raises:
        UsageError: not a list of objects.
    """
    if tools is None:
        return None
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise UsageError(f"tools must be a list, not {type(tools).__name__}")
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise UsageError("a tool must be an object", where=f"tools[{index}]")
    return [_plain(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _message(message: Message, index: int, joins: str | None) -> dict[str, Any]:
    where = f"messages[{index}]"
    if not isinstance(message, Mapping):
        raise UsageError(f"a message must be an object, not {type(message).__name__}", where=where)
    if not isinstance(message.get("role"), str) or not message["role"]:
        raise UsageError("a message has no role", where=where, remedy='add "role": "user"')
    copy: dict[str, Any] = _plain(message, where)
    _check_calls(copy.get("tool_calls"), f"{where}.tool_calls")
    if "content" not in copy:
        if not copy.get("tool_calls"):
            raise UsageError("a message has no content", where=where)
        return copy
    content = copy["content"]
    if isinstance(content, list):
        texts = [_text(part, f"{where}.content[{i}]") for i, part in enumerate(content)]
        if joins is not None:
            copy["content"] = joins.join(texts)
    elif content is not None and not isinstance(content, str):
        raise UsageError(
            f"content must be text or a list of parts, not {type(content).__name__}", where=where
        )
    return copy


def _check_calls(calls: Any, where: str) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise UsageError("tool_calls must be a list", where=where)
    for index, call in enumerate(calls):
        function = call.get("function", call) if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            raise UsageError("a tool call has no name", where=f"{where}[{index}].function")


def _text(part: Any, where: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise UsageError("only text parts are supported in content", where=where)
    if not isinstance(part.get("text"), str):
        raise UsageError("a text part has no text", where=where)
    text: str = part["text"]
    return text


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """Only exact JSON types reach a template: an object's methods could do harm."""
    if depth > _DEPTH:
        raise UsageError(f"it nests more than {_DEPTH} deep", where=where)
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise UsageError("the keys of an object must be text", where=where)
        return {str(k): _plain(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    raise UsageError(f"{type(value).__name__} is not JSON", where=where)


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Checks and copies what else a template may look at, such as `enable_thinking`.

    Raises:
        UsageError: a name that is not one or is taken, or a value that is not JSON.
    """
    for name in options:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise UsageError(f"{name!r} is not the name of a template option")
        if name in _TAKEN:
            raise UsageError(f"the template option {name!r} cannot be set", remedy=_TAKEN[name])
    return {name: _plain(value, f"option {name}") for name, value in options.items()}
