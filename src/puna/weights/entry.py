"""One tensor between a file and a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor


class Stacked(Protocol):
    """Several matrices in one tensor, each made when it is asked for."""

    @property
    def shape(self) -> torch.Size:
        """The shape of the whole, once made."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that matrices are made in."""

    def __getitem__(self, index: int, /) -> Tensor:
        """Return the matrix at `index`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor on its way: name, file, bytes, the tensor itself, and how to let go of it."""

    name: str
    file: Path
    size: int
    tensor: Tensor | Stacked
    release: Callable[[], None]


def keep() -> None:
    """Let nothing go: memory of the heap goes when its tensor does."""
