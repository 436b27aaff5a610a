"""Arguments of tool calls: JSON text and objects are both in use, and each template wants one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

Form = Literal["object", "text", "json"]
Try = Callable[[list[dict[str, Any]], list[Any]], str | None]

_KEY, _VALUE = "puna_key", "puna_value"
_TOOL = {
    "type": "function",
    "function": {
        "name": "puna_tool",
        "description": "A tool",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "A key"}},
            "required": [_KEY],
        },
    },
}


def wanted_form(attempt: Try) -> Form:
    """The form that a template writes as JSON.

    An object, unless only text comes out right. `json` is text again, written as the template
    would write the object: its own attempt ends in HTML escapes (Mistral's `tojson | safe`).

    Args:
        attempt: renders messages with tools; None where the template fails.
    """
    given: dict[Form, Any] = {"object": {_KEY: _VALUE}, "text": json.dumps({_KEY: _VALUE})}
    empty: dict[Form, Any] = {"object": {}, "text": "{}"}
    escapes = False
    for form in given:
        for content in ("", None):
            text = attempt(_asked(given[form], content), [_TOOL])
            plain = attempt(_asked(empty[form], content), [_TOOL])
            if text is None or plain is None or text.count(_VALUE) <= plain.count(_VALUE):
                continue
            if _right(text):
                return "json" if escapes else form
            escapes = escapes or "&#34;" in text
    return "object"


def _asked(arguments: Any, content: str | None) -> list[dict[str, Any]]:
    call = {"name": "puna_tool", "arguments": arguments}
    return [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": content,
            "tool_calls": [{"id": "123456789", "type": "function", "function": call}],
        },
    ]


def _right(text: str) -> bool:
    """Whether the value is written neither as Python, nor as JSON within JSON, nor as HTML."""
    return not any(wrong in text for wrong in (f"'{_VALUE}'", f'\\"{_VALUE}', "&#34;"))


def in_form(messages: Sequence[dict[str, Any]], form: Form) -> list[dict[str, Any]]:
    """Copies messages with the arguments of their tool calls in one form."""
    return [
        {**message, "tool_calls": [_converted(call, form) for call in message["tool_calls"]]}
        if isinstance(message.get("tool_calls"), list)
        else message
        for message in messages
    ]


def with_values(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies messages with results of tools that are JSON text as the values that they spell."""
    return [
        {**message, "content": _value(message["content"])}
        if message["role"] == "tool" and isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _converted(call: Any, form: Form) -> Any:
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _converted(call["function"], form)}
    arguments = call.get("arguments")
    if form != "text" and isinstance(arguments, str):
        arguments = _parsed(arguments)
    if form != "object" and isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return call if arguments is call.get("arguments") else {**call, "arguments": arguments}


def _parsed(arguments: str) -> Any:
    """The object that the text is; text that is none stays, for the template to judge."""
    if not arguments.strip():
        return {}
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
