"""Amounts as people read them."""

from __future__ import annotations


def human_bytes(count: float) -> str:
    """Return bytes in powers of a thousand, as disks and hubs count them: `14.5 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
