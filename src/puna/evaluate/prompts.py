"""What a model is shown: a row's question, after the examples that come before it."""

from __future__ import annotations

from collections.abc import Sequence

from puna.errors import UsageError
from puna.evaluate.task import Row
from puna.text import Message

BLOCK_END = "\n\n"


def prompt_of(row: Row, shots: Sequence[Row]) -> tuple[Message, ...] | str:
    """Return the row's prompt after its examples.

    In a conversation each example is turns of its own, after the system messages of the row;
    the examples' system messages are left out. In text it is a block of prompt and answer that
    ends with a blank line.

    Raises:
        UsageError: an example that has no answer to show, or that is a conversation before text.
    """
    if isinstance(row.prompt, str):
        return "".join(f"{_block(shot)}{BLOCK_END}" for shot in shots) + row.prompt
    first = next((i for i, m in enumerate(row.prompt) if not _leads(m)), len(row.prompt))
    turns = [turn for shot in shots for turn in _turns(shot)]
    return (*row.prompt[:first], *turns, *row.prompt[first:])


def joined(prompt: str, answer: str) -> str:
    """Return `answer` as it follows `prompt`: after a space where neither brings whitespace."""
    space = "" if prompt[-1:].isspace() or answer[:1].isspace() else " "
    return f"{space}{answer}"


def last_question(row: Row) -> str:
    """Return what the user said last, for people to look at."""
    if isinstance(row.prompt, str):
        return row.prompt
    asked = [message for message in row.prompt if message["role"] == "user"]
    content = (asked or row.prompt)[-1].get("content")
    return content if isinstance(content, str) else ""


def _block(shot: Row) -> str:
    if not isinstance(shot.prompt, str):
        raise UsageError("a conversation cannot be an example for a text prompt")
    if shot.continuation is not None:
        return shot.prompt + shot.continuation
    return shot.prompt + joined(shot.prompt, _answer(shot))


def _turns(shot: Row) -> list[Message]:
    asked: list[Message] = (
        [{"role": "user", "content": shot.prompt}]
        if isinstance(shot.prompt, str)
        else [message for message in shot.prompt if not _leads(message)]
    )
    return [*asked, {"role": "assistant", "content": _answer(shot)}]


def _leads(message: Message) -> bool:
    return message["role"] in {"system", "developer"}


def _answer(shot: Row) -> str:
    answer = shot.answer if shot.answer is not None else shot.continuation
    if answer is None:
        raise UsageError(
            f"the example of line {shot.line} has a pattern, and so no answer to show",
            remedy="choose examples that have an answer",
        )
    return answer
