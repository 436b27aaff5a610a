"""Finds a turn of the assistant by what changes in the text when its message does.

For templates that write a turn in another way once others follow, so that a rendering up to the
turn is no prefix of the whole: Qwen3 takes reasoning out of the history, Mistral moves the system
message and the tools to the last question and merges messages of one role.

The place of a message in a text is where the text differs from the same conversation with a probe
in the message's stead. What stands between the message before and the turn must then be, to the
letter, what the generation prompt puts there.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from puna.text.scene import Span

_OPENED = re.compile(r"<think>\s*\Z")
Render = Callable[[Sequence[dict[str, Any]], bool], str]


class Unmarkable(Exception):
    """The assistant's part cannot be told from the text; says why."""


def turns(
    messages: Sequence[dict[str, Any]],
    run: Sequence[int],
    text: str,
    render: Render,
    ends: re.Pattern[str],
) -> list[Span]:
    """The spans of the assistant's messages at `run`, which stand in a row.

    Messages with only white space between them are one turn.

    Raises:
        Unmarkable: a check failed.
    """
    places = [_place(messages, index, text, render, ask=False) for index in run]
    for index, place in zip(run, places, strict=True):
        _check_content(messages[index], text[slice(*place)], index)
    between = [text[one[1] : two[0]] for one, two in pairwise(places)]
    merged = not any(part.strip() for part in between)
    groups = [(run[0], run[-1])] if merged else [(index, index) for index in run]
    found = []
    for first, last in groups:
        one, two = places[first - run[0]], places[last - run[0]]
        start = _start(messages, first, one[0], text, render, ends)
        _check_lead(messages, first, text[start : one[0]], render)
        found.append((start, _end(messages, last, two[1], text, render, ends)))
    return found


def _check_lead(messages: Sequence[dict[str, Any]], index: int, lead: str, render: Render) -> None:
    """What a turn says before its content must be what it said as the last one, or the end of it:
    reasoning may be gone."""
    part = messages[: index + 1]
    alone = render(part, False)
    if not alone[: _place(part, index, alone, render, ask=False)[0]].endswith(lead):
        raise Unmarkable(f"messages[{index}] begins in another way once others follow")


def _start(
    messages: Sequence[dict[str, Any]],
    index: int,
    said: int,
    text: str,
    render: Render,
    ends: re.Pattern[str],
) -> int:
    """Where the generation prompt of a turn ends that says its first word at `said`."""
    if index == 0:
        raise Unmarkable("nothing comes before the assistant's first turn")
    before = render(messages[:index], True)
    prompt = before[_place(messages[:index], index - 1, before, render, ask=True)[1] :]
    at = _place(messages, index - 1, text, render, ask=False)[1]
    end = _after(prompt, text, at, ends)
    opened = _OPENED.search(prompt)
    if end is None and opened is not None and _answered(messages, index):
        # A prompt that opens a block of reasoning, which the history is written without.
        end = _after(prompt[: opened.start()], text, at, ends)
    if end is None and opened is not None:
        raise Unmarkable(
            f"the prompt before messages[{index}] opens a block of reasoning that it does not have"
        )
    if not prompt or end is None or end > said:
        raise Unmarkable(f"the prompt before messages[{index}] is not the one it was asked with")
    return end


def _answered(messages: Sequence[dict[str, Any]], index: int) -> bool:
    return any(message["role"] == "user" for message in messages[index + 1 :])


def _after(prompt: str, text: str, at: int, ends: re.Pattern[str]) -> int | None:
    """Where a prompt ends that begins at `at`; white space may differ up to its first token."""
    if text.startswith(prompt, at):
        return at + len(prompt)
    here, there = ends.search(prompt), ends.search(text, at)
    if here is None or there is None:
        return None
    rest = prompt[here.start() :]
    alike = prompt[: here.start()].split() == text[at : there.start()].split()
    return there.start() + len(rest) if alike and text.startswith(rest, there.start()) else None


def _end(
    messages: Sequence[dict[str, Any]],
    index: int,
    said: int,
    text: str,
    render: Render,
    ends: re.Pattern[str],
) -> int:
    """Where a turn ends that says its last word before `said`."""
    alone = render(messages[: index + 1], False)
    tail = alone[_place(messages[: index + 1], index, alone, render, ask=False)[1] :]
    closing = [found.end() for found in ends.finditer(tail)]
    if closing:
        # Calls may end in several tokens; what is only said ends in one.
        tail = tail[: closing[-1 if messages[index].get("tool_calls") else 0]]
    if tail and text.startswith(tail, said):
        return said + len(tail)
    found = ends.search(text, said)
    limit = len(text)
    if index + 1 < len(messages):
        limit = _place(messages, index + 1, text, render, ask=False)[0]
    if found is None or found.end() > limit:
        raise Unmarkable(f"no special token ends messages[{index}]")
    return found.end()


def _place(
    messages: Sequence[dict[str, Any]], index: int, text: str, render: Render, *, ask: bool
) -> Span:
    """The characters of `text`, the rendering of `messages`, that come from one message."""
    one, two = (
        render([*messages[:index], other, *messages[index + 1 :]], ask)
        for other in _probes(messages[index])
    )
    if one == two:
        raise Unmarkable(f"messages[{index}] is not in the text")
    start = min(common(one, two), common(text, one), common(text, two))
    after = min(_shared_end(one, two), _shared_end(text, one), _shared_end(text, two))
    if start > len(text) - after:
        raise Unmarkable(f"messages[{index}] is not found in one place")
    return start, len(text) - after


def _probes(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Two messages of the same form that share no first and no last letter with it."""
    content = content_of(message)
    used = {content[:1], content[-1:]}
    one, two = [letter for letter in string.ascii_uppercase if letter not in used][:2]
    return [changed(message, f"{letter}puna{letter}") for letter in (one, two)]


def changed(message: dict[str, Any], word: str) -> dict[str, Any]:
    """The message with other words: the same form, and `word` for its content and its calls."""
    probe = dict(message)
    content = message.get("content")
    if isinstance(content, list) and content:
        probe["content"] = [{"type": "text", "text": word}]
    elif content or not message.get("tool_calls"):
        probe["content"] = word
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        named = [_renamed(call, word, None) for call in calls[:1]]
        probe["tool_calls"] = [*named, *calls[1:]]
        probe["tool_calls"][-1] = _renamed(calls[-1], word, {word: word})
    return probe


def _renamed(call: Any, word: str, arguments: dict[str, str] | None) -> Any:
    """The call of another function; with other arguments in the form that they had."""
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _renamed(call["function"], word, arguments)}
    changed = {**call, "name": word}
    if arguments is not None:
        as_text = isinstance(call.get("arguments"), str)
        changed["arguments"] = json.dumps(arguments) if as_text else arguments
    return changed


def _check_content(message: dict[str, Any], said: str, index: int) -> None:
    """What is said must be the content; reasoning before it may have been taken out."""
    content = content_of(message)
    answer = content.rsplit("</think>", 1)[-1].strip()
    calls = message.get("tool_calls")
    if calls and not shows_calls(calls, said):
        raise Unmarkable(f"the tool calls of messages[{index}] are not found in its turn")
    if answer not in said if calls else not said.strip().endswith(answer):
        raise Unmarkable(f"the content of messages[{index}] is not found in its turn")


def content_of(message: dict[str, Any]) -> str:
    """What a message says, its parts joined, without the white space around it."""
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content)
    return str(content or "").strip()


def shows_calls(calls: Any, said: str) -> bool:
    """Whether a text names every call, the same tool as often as it is called."""
    names = _called(calls)
    return all(said.count(name) >= names.count(name) for name in names)


def _called(calls: Any) -> list[str]:
    """The names of the tools in a message's calls, in either of the published forms."""
    entries = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    functions = [call.get("function", call) for call in entries]
    return [str(f["name"]) for f in functions if isinstance(f, dict) and "name" in f]


def common(one: str, two: str) -> int:
    """How many characters two texts share at their beginning."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(two[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _shared_end(one: str, two: str) -> int:
    """How many characters two texts share at their end."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one.endswith(two[len(two) - middle :]):
            low = middle
        else:
            high = middle - 1
    return low
