"""How commands show things: tables and progress for people on a terminal, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

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
def progress(title: str, unit: str) -> Iterator[Callable[[float, float, str], None]]:
    """Yield `update(done, total, remark)`; a bar with rate and time left on a terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[remark]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
        transient=False,
    )
    task = bar.add_task(f"{title} ({unit})", total=None, remark="")

    def update(done: float, total: float, remark: str = "") -> None:
        bar.update(task, completed=done, total=total, remark=remark)

    with bar:
        yield update
