"""What every attack checks: how an error reads, and how much memory it took."""

from __future__ import annotations

import re
import resource
from pathlib import Path

from puna.errors import PunaError

_STATUS = Path("/proc/self/status")  # proc(5); on macOS there is none, and ru_maxrss is in bytes


def peak_memory() -> int:
    """Bytes this process has held at most so far.

    Not ru_maxrss where there is better: a process takes over the one of what started it.
    """
    if _STATUS.exists():
        (most,) = re.findall(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())
        return int(most) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_message(error: PunaError, reason: str) -> None:
    """One to three printable lines, short, that say the reason."""
    text = str(error)
    assert reason in text
    lines = text.split("\n")
    assert 1 <= len(lines) <= 3
    assert all(line.isprintable() for line in lines)
    assert len(error.what) < 500
