"""What one target is: seeds, the parser under test, and how its inputs are changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

# Takes an input, dice, and libFuzzer's own change of bytes; returns the changed input.
Native = Callable[[bytes], bytes]
Mutator = Callable[[bytes, Random, Native], bytes]


def slot(path: Path) -> Callable[[bytes], None]:
    """Return what puts an input into a file; the file stays open, since opening takes longest."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def put(data: bytes) -> None:
        os.ftruncate(descriptor, len(data))
        os.pwrite(descriptor, data, 0)

    return put


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        seeds: real small inputs to begin with.
        one: reads an input through the package; it may raise a PunaError and nothing else.
        mutate: a change that keeps the form of the input, so that what lies behind it is reached.
        words: what libFuzzer puts into inputs by itself.
        longest: bytes of an input at most.
        compiles: whether the sandbox of chat templates, which compiles, is what is under test.
    """

    seeds: tuple[bytes, ...]
    one: Callable[[bytes], None]
    mutate: Mutator
    words: tuple[bytes, ...] = ()
    longest: int = 4096
    compiles: bool = False
