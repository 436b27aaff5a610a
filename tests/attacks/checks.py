"""What every attack checks: how an error reads, and how much memory it took."""

from __future__ import annotations

import resource
import sys

from puna.errors import PunaError


def peak_memory() -> int:
    """Bytes this process has held at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def check_message(error: PunaError, reason: str) -> None:
    """One to three printable lines, short, that say the reason."""
    text = str(error)
    assert reason in text
    lines = text.split("\n")
    assert 1 <= len(lines) <= 3
    assert all(line.isprintable() for line in lines)
    assert len(error.what) < 500
