"""How commands show things: tables and progress for people on a terminal, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from puna.errors import UsageError


class Update(Protocol):
    """Move a bar to `done` of `total`, with a remark beside it."""

    def __call__(self, done: float, total: float, remark: str = "") -> None:
        """See the class."""


out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def fail(message: str) -> None:
    """Print an error of at most a few lines to stderr, unwrapped."""
    first, *rest = message.splitlines() or [""]
    err.print(Text("error: ", style="bold red") + Text(first), soft_wrap=True)
    for line in rest:
        err.print(Text(line, style="dim"), soft_wrap=True)


def note(message: str) -> None:
    """Print a side remark to stderr."""
    err.print(Text(message, style="dim"), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value to stdout, exactly as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def bars() -> Iterator[Callable[[str, str], Update]]:
    """Yield `bar(title, unit)`, which returns `update(done, total, remark="")` of a new bar.

    Bars show rate and time left, on stderr, and only once the work has lasted a second.
    """
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}{task.fields[remark]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
    )
    began = time.monotonic()

    def bar(title: str, unit: str) -> Update:
        task: list[TaskID] = []

        def update(done: float, total: float, remark: str = "") -> None:
            if not task:
                task.append(shown.add_task(title, total=total, rate="", remark=""))
            speed = shown.tasks[shown.task_ids.index(task[0])].speed
            rate = f"{_short(speed)} {unit}/s  " if speed else ""
            shown.update(task[0], completed=done, total=total, rate=rate, remark=remark)
            if not shown.live.is_started and time.monotonic() - began > 1:
                shown.start()

        return update

    try:
        yield bar
    finally:
        if shown.live.is_started:
            shown.stop()


def with_file(update: Update) -> Callable[[int, int, str], None]:
    """Return a callback for transfers: bytes done, bytes in all, and the file that moved last."""
    from puna.source import human_bytes

    def show(done: int, total: int, name: str) -> None:
        update(done, total, f"{human_bytes(done)} of {human_bytes(total)}  {name}")

    return show


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless `yes` was said.

    Raises:
        UsageError: the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is nobody to ask", remedy="pass --yes")
    answer = err.input(Text(f"{question} [y/N] "))
    if answer.strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was done")


def _short(number: float) -> str:
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.3g} {unit}".strip() if unit else f"{number:.3g}"
        number /= 1000
    return f"{number:.3g} G"
