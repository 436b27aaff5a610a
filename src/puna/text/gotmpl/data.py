"""Messages and tools as the records that Go templates name: `.Role`, `.Function.Name` and so on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from puna.text.gotmpl.values import Shown, Struct, ordered


def go_messages(messages: Sequence[dict[str, Any]]) -> list[Any]:
    """Messages for `.Messages`; the name of a tool's result is found by the id of its call."""
    names = {
        call.get("id"): _function(call).get("name", "")
        for message in messages
        for call in message.get("tool_calls") or []
    }
    return [_message(message, names) for message in messages]


def _message(message: dict[str, Any], names: Mapping[Any, Any]) -> Struct:
    call = message.get("tool_call_id") or ""
    name = message.get("tool_name") or message.get("name") or names.get(call) or ""
    thinking = [message.get(k) for k in ("thinking", "reasoning_content", "reasoning")]
    return Struct(
        "message",
        {
            "Role": message["role"],
            "Content": message["content"] or "",
            "Thinking": next((text for text in thinking if isinstance(text, str)), ""),
            "Images": [],
            "ToolCalls": [_call(c, i) for i, c in enumerate(message.get("tool_calls") or [])],
            "ToolName": str(name) if message["role"] == "tool" else "",
            "ToolCallID": str(call),
        },
    )


def _function(entry: dict[str, Any]) -> dict[str, Any]:
    """The function of a call or tool, in either of the published forms."""
    function = entry.get("function", entry)
    return function if isinstance(function, dict) else {}


def _call(call: dict[str, Any], index: int) -> Struct:
    function = _function(call)
    arguments = ordered(_arguments(function.get("arguments")))
    fields = {
        "Index": index,
        "Name": str(function.get("name", "")),
        "Arguments": Shown(arguments, arguments),
    }
    return Struct(
        "tool call",
        {"ID": str(call.get("id") or ""), "Function": Struct("function call", fields)},
    )


def _arguments(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = {}
    return value if isinstance(value, dict) else {}


def go_tools(tools: list[Any] | None) -> Shown:
    """Tools for `.Tools`; a tool, its function and the list print as JSON."""
    made = [_tool(tool) for tool in tools or [] if isinstance(tool, dict)]
    return Shown(made, made if tools is not None else None)


def _tool(tool: dict[str, Any]) -> Shown:
    function = _function(tool)
    described = _parameters(function.get("parameters"))
    name, description = str(function.get("name", "")), str(function.get("description") or "")
    value = Struct("function", {"Name": name, "Description": description, "Parameters": described})
    shown = Shown(value, {"name": name, "description": description, "parameters": described})
    kind, parts = str(tool.get("type") or ""), ordered(tool.get("items"))
    return Shown(
        Struct("tool", {"Type": kind, "Items": parts, "Function": shown}),
        {"type": kind, **_given(items=parts), "function": shown},
    )


def _parameters(value: Any) -> Shown:
    value = value if isinstance(value, dict) else {}
    properties = value.get("properties")
    found = properties if isinstance(properties, dict) else {}
    table = {str(name): _property(found[name]) for name in sorted(found)}
    required = _texts(value.get("required"))
    defs, parts = ordered(value.get("$defs")), ordered(value.get("items"))
    kind = str(value.get("type") or "")
    shown = Shown(table, table if isinstance(properties, dict) else None)
    fields = {"Type": kind, "Defs": defs, "Items": parts, "Required": required}
    return Shown(
        Struct("parameters", {**fields, "Properties": shown}),
        {
            "type": kind,
            **_given(**{"$defs": defs}, items=parts, required=required or None),
            "properties": shown,
        },
    )


def _property(value: Any) -> Shown:
    value = value if isinstance(value, dict) else {}
    kinds = value.get("type")
    types = [kinds] if isinstance(kinds, str) else _texts(kinds)
    choices = [_property(c) for c in value.get("anyOf") or [] if isinstance(c, dict)]
    enum = value.get("enum")
    values = ordered(enum) if isinstance(enum, list) else []
    inner = value.get("properties")
    table = {n: _property(p) for n, p in inner.items()} if isinstance(inner, dict) else None
    written = types[0] if len(types) == 1 else types
    text = types[0] if len(types) == 1 else f"[{' '.join(types)}]" if types else ""
    description, parts = str(value.get("description") or ""), ordered(value.get("items"))
    required = _texts(value.get("required"))
    fields = {
        "AnyOf": choices,
        "Type": Shown(types, written, text),
        "Items": parts,
        "Description": description,
        "Enum": values,
        "Properties": table,
        "Required": required,
    }
    return Shown(
        Struct("property", fields),
        _given(
            anyOf=choices or None,
            type=written or None,
            items=parts,
            description=description or None,
            enum=values or None,
            properties=table,
            required=required or None,
        ),
    )


def _texts(value: Any) -> list[str]:
    return [part for part in value if isinstance(part, str)] if isinstance(value, list) else []


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are there: what is absent is not written."""
    return {name: value for name, value in fields.items() if value is not None}
