"""Score a model on a task file, and put the report where people look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from puna.evaluate import evaluate, read_task
from puna.formats import check_writable, write_atomic
from puna.generate import LanguageModel
from puna.report import Report, to_html


def evaluate_file(
    lm: LanguageModel,
    task: Path,
    *,
    subject: str,
    max_tokens: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return the report of `lm` on a JSONL task file; see `puna.evaluate`.

    Raises:
        SourceError, DataError: the file, with the line at fault.
    """
    rows = read_task(task)
    return evaluate(lm, rows, subject=subject, max_tokens=max_tokens, on_progress=on_progress)


def check_page(path: Path) -> None:
    """Find out before a long evaluation whether its page can be written.

    Raises:
        StorageError: it cannot.
    """
    check_writable(path)


def report_page(report: Report, path: Path) -> None:
    """Write a report as one self-contained HTML page.

    Raises:
        StorageError: the disk did not take it.
    """
    write_atomic(path, to_html(report).encode("utf-8"))
