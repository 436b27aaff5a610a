"""How commands show things: tables and progress for people on a terminal, JSON for machines."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
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
    """Move a bar to `done` of `total` (None: not known yet), with a remark beside it."""

    def __call__(self, done: float, total: float | None = None, remark: str = "") -> None:
        """See the class."""


def prepare_streams() -> None:
    """Make standard streams that are closed, or cannot encode what is said, harmless.

    What an encoding lacks is written as an escape, so that no answer is lost to it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif name == "stdout" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False)


# What a terminal would obey: a model's words, or a file's, must not move its cursor.
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str) -> None:
    """Write a model's words to stdout at once; on a terminal without what it would obey."""
    sys.stdout.write(
        _ORDERS.sub("\N{REPLACEMENT CHARACTER}", text) if sys.stdout.isatty() else text
    )
    sys.stdout.flush()


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
    """Print one JSON value to stdout, exactly as it is; escaped where stdout is not Unicode."""
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=plain, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def bars() -> Iterator[Callable[[str, str], Update]]:
    """Yield `bar(title, unit)`, which returns `update(done, total, remark="")` of a new bar.

    Bars show rate and time left, on stderr, and only once the work has lasted a second; from then
    on they move, however long the first update takes to come.
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
    due = threading.Event()

    def begin() -> None:
        due.set()
        if shown.tasks:
            shown.start()

    timer = threading.Timer(1.0, begin)
    timer.daemon = True

    def bar(title: str, unit: str) -> Update:
        task: list[TaskID] = []

        def update(done: float, total: float | None = None, remark: str = "") -> None:
            if not task:
                task.append(shown.add_task(title, total=total, rate="", remark=""))
            speed = shown.tasks[shown.task_ids.index(task[0])].speed
            rate = f"{_short(speed)} {unit}/s  " if speed and not remark else ""
            shown.update(task[0], completed=done, total=total, rate=rate, remark=remark)
            if due.is_set():
                shown.start()

        return update

    timer.start()
    try:
        yield bar
    finally:
        timer.cancel()
        timer.join()
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
