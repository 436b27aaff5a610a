"""One tensor between a file and a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from puna.families import Slice
from puna.quant import Packed


class Lazy(Protocol):
    """A tensor in a number format that is unpacked by parts, since the whole may be large."""

    @property
    def shape(self) -> torch.Size:
        """The shape once unpacked."""

    @property
    def dtype(self) -> torch.dtype:
        """The narrowest dtype that holds every value."""

    def part(self, layout: Slice | None, dtype: torch.dtype) -> Tensor:
        """Return the whole, or what a slice takes in our row order, in a new tensor."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor on its way: name, file, bytes, the tensor itself, and how to let go of it.

    A packed weight is one tensor here, under our own name.
    """

    name: str
    file: Path
    size: int
    tensor: Tensor | Lazy | Packed
    release: Callable[[], None]


def keep() -> None:
    """Let nothing go: memory of the heap goes when its tensor does."""
