"""What one rendering of a template may spend, and the counter that it spends from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

_NODE = 8  # what an element of a list weighs beside its text, in characters
_DEPTH = 100  # lists within lists; deeper ones would overflow the native stack when hashed
_CHECK_EVERY = 16  # steps between two looks at the clock
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SEQUENCES: tuple[type, ...] = (list, tuple, *_VIEWS)
_CONTAINERS: tuple[type, ...] = (dict, *_SEQUENCES)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rendering may spend.

    Args:
        steps: turns of loops, calls, filters, tests and operations.
        output: characters of the rendered text.
        seconds: processor time of the rendering thread.
        size: characters in one value, with 8 for every element of a list or mapping.
        memory: characters in all values that the template makes, dropped ones included.
    """

    steps: int = 2_000_000
    output: int = 16_000_000
    seconds: float = 10.0
    size: int = 16_000_000
    memory: int = 512_000_000


class Stop(Exception):
    """The template did what it may not do; the text says what, for the user."""


class Meter:
    """Counts what one rendering spends; raises `Stop` at a limit."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spans: list[tuple[int, int]] = []  # generation blocks, in characters of the output
        self._steps = 0
        self._memory = 0
        self._output = 0
        self._opened: int | None = None
        self._inputs: dict[int, int] = {}
        self._deadline = time.thread_time() + limits.seconds

    def tick(self, steps: int = 1) -> None:
        """Spends steps, and looks at the clock now and then."""
        before = self._steps // _CHECK_EVERY
        self._steps += steps
        if self._steps > self.limits.steps:
            raise Stop(f"it takes more than {self.limits.steps:,} steps: an endless loop?")
        if self._steps // _CHECK_EVERY != before and time.thread_time() > self._deadline:
            raise Stop(f"it takes longer than {self.limits.seconds:g} seconds")

    def emit(self, text: str) -> None:
        """Counts text that goes to the output."""
        self._output += len(text)
        if self._output > self.limits.output:
            raise Stop(f"it writes more than {self.limits.output:,} characters")
        self.tick()

    def charge(self, size: int) -> None:
        """Counts characters of a value that the template made."""
        self._memory += size
        if self._memory > self.limits.memory:
            raise Stop(f"it makes more than {self.limits.memory:,} characters of values")

    def check(self, size: float) -> None:
        """Refuses a value of this size before it is made."""
        if size > self.limits.size:
            raise Stop(f"it makes a value of more than {self.limits.size:,} characters")

    def know(self, value: Any) -> None:
        """Weighs an input once; it is not looked into again."""
        for part in reversed(list(_containers(value))):
            self._inputs[id(part)] = self.weigh(part)

    def weigh(self, value: Any) -> int:
        """The size of a value when written out; a list that is in two places counts twice.

        Raises:
            Stop: larger than the limit, or nested too deep.
        """
        if isinstance(value, str):
            size = len(value)
        elif value is None or isinstance(value, bool | int | float):
            return _NODE
        else:
            size = self._weigh_parts(value)
        self.check(size)
        return size

    def spread(self, value: Any) -> None:
        """Refuses text that is about to become a list of its characters, if that is too long."""
        if isinstance(value, str):
            self.check(_NODE * len(value))

    def made(self, value: Any) -> Any:
        """Weighs and counts a value that the template has just made; returns it."""
        if isinstance(value, str):
            self.check(len(value))
            self.charge(len(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            if value.bit_length() > 64:
                raise Stop("it makes a whole number of more than 64 bits")
        elif isinstance(value, list | tuple | dict):
            self.weigh(value)
            self.charge(_NODE * len(value))
        return value

    def open_block(self) -> None:
        """A generation block begins at the present end of the output."""
        if self._opened is not None:
            raise Stop("a generation block begins within another, or was left by break or continue")
        self._opened = self._output

    def close_block(self) -> None:
        """The generation block ends at the present end of the output."""
        if self._opened is not None:
            self.spans.append((self._opened, self._output))
        self._opened = None

    def finish(self) -> None:
        """Checks at the end of the rendering that every generation block was closed."""
        if self._opened is not None:
            raise Stop("a generation block was left by break or continue")

    def _weigh_parts(self, value: Any) -> int:
        size = 0
        level: list[Any] = [value]
        for _ in range(_DEPTH):
            below: list[Any] = []
            for part in level:
                known = self._inputs.get(id(part))
                if known is not None:
                    size += known
                    continue
                size += _NODE
                for child in _children(part):
                    if isinstance(child, str):
                        size += len(child) + _NODE
                    elif isinstance(child, _CONTAINERS):
                        below.append(child)
                    else:
                        size += _NODE
                if size + _NODE * len(below) > self.limits.size:
                    self.check(float("inf"))
            if not below:
                return size
            level = below
        raise Stop(f"it nests lists more than {_DEPTH} deep")


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield item
    elif isinstance(value, _SEQUENCES):
        yield from cast(Iterable[Any], value)


def _containers(value: Any) -> Iterator[Any]:
    """Every list and mapping of a tree, parents first."""
    if isinstance(value, list | tuple | dict):
        yield value
        for child in _children(value):
            yield from _containers(child)
