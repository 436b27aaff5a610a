"""Reports put where people look."""

from __future__ import annotations

from pathlib import Path

from puna.formats import check_writable, write_atomic
from puna.report import Report, to_html


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
