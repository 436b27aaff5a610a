"""One tensor between a file and a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor on its way: name, file, bytes, the tensor itself, and how to let go of it."""

    name: str
    file: Path
    size: int
    tensor: Tensor
    release: Callable[[], None]


def keep() -> None:
    """Let nothing go: memory of the heap goes when its tensor does."""
