"""Memory that a job of this process may still use, in bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from puna.errors import UsageError

# A limit that stands for none (cgroup v1 writes 2^63 rounded down to a page).
_NO_LIMIT = 1 << 60


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return what is free: what the system could give, or what is left of a group's limit.

    Args:
        proc, cgroups: where the system tells of itself.

    Raises:
        UsageError: it does not.
    """
    free = _free(proc)
    if free is None:
        raise UsageError(
            "this system does not say how much memory is free",
            remedy="state it, such as --device 16GB",
        )
    return max(0, min([free, *_left_in_groups(proc, cgroups)]))


def _free(proc: Path) -> int | None:
    if found := re.search(r"^MemAvailable:\s+(\d+) kB", _text(proc / "meminfo"), re.M):
        return int(found[1]) << 10
    try:  # elsewhere only the whole is known; half of it is what others commonly leave
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _left_in_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield what is left of the limit of each group that this process is in, and of its parents.

    Pages of files that were not used lately go as soon as memory is wanted, and count as free.
    """
    for folder, limit_name, use_name, cold_name in _groups(proc, cgroups):
        limit, use = _number(folder / limit_name), _number(folder / use_name)
        if limit is None or use is None or limit >= _NO_LIMIT:
            continue
        cold = re.search(rf"^{cold_name} (\d+)$", _text(folder / "memory.stat"), re.M)
        yield limit - use + (int(cold[1]) if cold else 0)


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[Path, str, str, str]]:
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds == "":
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            root = cgroups / "memory"
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            yield root.joinpath(*parts[:depth]), *names


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
