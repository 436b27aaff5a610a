"""Which characters of a rendered conversation the assistant says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from puna.text import probe
from puna.text.probe import Render, Unmarkable, common, content_of, shows_calls
from puna.text.scene import Run, Span

# Published special tokens are spelled in these ways: <|im_end|>, </s>, <end_of_turn>, [/INST].
_LOOKS_SPECIAL = re.compile(
    r"<[|｜][^\s<>|｜]{1,60}[|｜]>|</?s>|<(?:bos|eos|pad|[a-z]+_of_[a-z]+|end_message)>"
    r"|\[/?[A-Z][A-Z_]{2,30}\]"
)


def assistant_spans(
    messages: Sequence[dict[str, Any]],
    text: str,
    render: Render,
    specials: Sequence[str] | None,
) -> tuple[Span, ...]:
    """The spans of the assistant's turns, found by rendering the conversation up to each.

    A turn begins where the generation prompt before it ends. It ends with the first special
    token after its content, which the model must learn to emit; where no special token follows,
    with the turn's text. Every claim is checked: each prefix is one, and the content and the names
    of the tools that are called lie inside.

    Templates that write earlier turns in another way later on (reasoning taken out, the system
    message moved, turns of one role merged) are looked at around each turn only, see `probe`.

    Args:
        messages: the conversation.
        text: its rendering.
        render: renders messages, with or without the generation prompt.
        specials: the special tokens as they are written; None: what is spelled like one.

    Raises:
        Unmarkable: one of the checks failed.
    """
    ends = special_pattern(specials)
    spans: list[Span] = []
    for run in _runs(messages):
        try:
            found = [_turn(messages, index, text, render, ends) for index in run]
            _check_apart(found)
            _check_leads(messages, run, text, found)
        except Unmarkable as strict:
            try:
                found = probe.turns(messages, run, text, render, ends)
                if len(found) == len(run):
                    _check_leads(messages, run, text, found)
            except Unmarkable as local:
                raise Unmarkable(f"{strict}; {local}") from None
        spans += found
    _check_apart(spans)
    return tuple(spans)


def block_spans(
    messages: Sequence[dict[str, Any]],
    run: Run,
    render: Callable[[Sequence[dict[str, Any]]], Run],
) -> tuple[Span, ...]:
    """The spans of a template's own generation blocks, once they are seen to be the assistant's.

    Args:
        messages: the conversation.
        run: its rendering.
        render: renders messages in the same way.

    Raises:
        Unmarkable: the blocks are empty, or hold what a user says.
    """
    spoken = [m for m in messages if m["role"] == "assistant"]
    says = any(content_of(m) or m.get("tool_calls") for m in spoken)
    if says and not any(run.text[slice(*span)].strip() for span in run.spans):
        raise Unmarkable("no generation block holds anything that it says")
    word = "puna"
    while word in run.text:
        word += "x"
    probed = render([probe.changed(m, word) if m["role"] == "user" else m for m in messages])
    if any(word in probed.text[slice(*span)] for span in probed.spans):
        raise Unmarkable("a generation block holds what a user says")
    return run.spans


def _runs(messages: Sequence[dict[str, Any]]) -> list[list[int]]:
    """The places of the assistant's messages, those in a row together."""
    runs: list[list[int]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if index and messages[index - 1]["role"] == "assistant":
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _check_apart(spans: Sequence[Span]) -> None:
    for one, two in pairwise(spans):
        if two[0] < one[1]:
            raise Unmarkable("two turns of the assistant overlap")


def _check_leads(
    messages: Sequence[dict[str, Any]], run: Sequence[int], text: str, spans: Sequence[Span]
) -> None:
    """Of messages in a row, all begin alike, or the header of one is taken for what it says."""
    leads = []
    for index, (start, end) in zip(run, spans, strict=True):
        said, content = text[start:end], content_of(messages[index])
        if content and not messages[index].get("tool_calls"):
            lead = said[: said.find(content)].strip()
            leads.append("" if lead.endswith("</think>") else lead)
    if len(set(leads)) > 1:
        raise Unmarkable(f"messages[{run[-1]}] begins in another way than the one before it")


def special_pattern(specials: Sequence[str] | None) -> re.Pattern[str]:
    """Matches any of the special tokens; None: what is spelled as published ones are."""
    if specials is None:
        return _LOOKS_SPECIAL
    longest_first = sorted(specials, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _turn(
    messages: Sequence[dict[str, Any]],
    index: int,
    text: str,
    render: Render,
    ends: re.Pattern[str],
) -> Span:
    before = render(messages[:index], True)
    if not text.startswith(before):
        raise Unmarkable(f"what comes before messages[{index}] is written in another way later on")
    start = len(before)
    content = content_of(messages[index])
    calls = messages[index].get("tool_calls")
    exact = re.compile(rf"\s*{re.escape(content)}\s*(?:{ends.pattern})").match(text, start)
    if exact and content and not calls:
        return start, exact.end()
    alone = render(messages[: index + 1], False)
    shared = common(text, alone)
    # Where nothing is said, the token is the end of the turn only if no word comes after it.
    wordless = re.compile(rf"(?:\s|{ends.pattern})*")
    if exact and not calls and shared >= exact.end() and wordless.fullmatch(alone, exact.end()):
        return start, exact.end()
    if calls and not shows_calls(calls, text[start:shared]):
        raise Unmarkable(f"the tool calls of messages[{index}] are not found in its turn")
    at = text.rfind(content, start, shared) if shared > start else -1
    if at < 0:
        raise Unmarkable(f"the content of messages[{index}] is not found in its turn")
    closing = None if calls else ends.search(text, at + len(content), shared)
    if closing is not None:
        return start, closing.end()
    if shared < len(alone):
        raise Unmarkable(f"the end of messages[{index}] is written in another way later on")
    return start, _without_space(text, start, shared, ends)


def _without_space(text: str, start: int, end: int, ends: re.Pattern[str]) -> int:
    """White space after the last special token of a turn is not the model's to say."""
    closing = [found.end() for found in ends.finditer(text, start, end)]
    if closing and not text[closing[-1] : end].strip():
        return closing[-1]
    return end


def mask_of(spans: Sequence[Span], offsets: Sequence[Span]) -> tuple[bool, ...]:
    """Marks the tokens from the first to the last that touch each span.

    Tokens without characters of their own count when they lie between marked ones.
    """
    mask = [False] * len(offsets)
    first = 0
    for start, end in spans:
        touched = range(0)
        for index in range(first, len(offsets)):
            left, right = offsets[index]
            if left >= end:
                break
            if right > start and left < right:
                touched = range(touched.start if touched else index, index + 1)
        for index in touched:
            mask[index] = True
        first = touched.start if touched else first
    return tuple(mask)
