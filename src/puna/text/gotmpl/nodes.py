"""The tree of a Go template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`: the value that the surrounding `range` or `with` is about."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: text, number, true, false or nil."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B`: fields of dot."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.A.B`: fields of a variable; `$` is what the template was called with."""

    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """`(…).A.B`: fields of a parenthesized pipeline."""

    operand: Pipe
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function."""

    name: str


@dataclass(frozen=True, slots=True)
class Command:
    """One link of a pipeline: a function with arguments, or one operand alone."""

    args: tuple[Dot | Literal | Field | Variable | Chain | Function | Pipe, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each taking the value of the one before it as its last argument.

    `declares`: variables that get the value; `assigns` tells that they are there already.
    """

    commands: tuple[Command, ...]
    declares: tuple[str, ...]
    assigns: bool
    line: int


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Action:
    """`{{pipeline}}`: printed unless it declares a variable."""

    pipe: Pipe
    line: int


@dataclass(frozen=True, slots=True)
class If:
    """`{{if}}`, with `{{else if}}` as an `If` within `orelse`."""

    pipe: Pipe
    body: Block
    orelse: Block | None
    line: int


@dataclass(frozen=True, slots=True)
class With:
    """`{{with}}`: `body` with dot set to the value, if it is not empty."""

    pipe: Pipe
    body: Block
    orelse: Block | None
    line: int


@dataclass(frozen=True, slots=True)
class Range:
    """`{{range}}`: `body` for each element."""

    pipe: Pipe
    body: Block
    orelse: Block | None
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    """`{{template "name" pipeline}}`."""

    name: str
    pipe: Pipe | None
    line: int


@dataclass(frozen=True, slots=True)
class Leave:
    """`{{break}}`, or `{{continue}}` if not `ends`."""

    ends: bool
    line: int


Node = Text | Action | If | With | Range | Call | Leave
Block = tuple[Node, ...]


def names_in(block: Block) -> Iterator[str]:
    """Yields the fields that a template reads, and the names of its variables."""
    for node in block:
        if isinstance(node, If | With | Range):
            yield from _pipe_names(node.pipe)
            yield from names_in(node.body)
            yield from names_in(node.orelse or ())
        elif isinstance(node, Action | Call):
            yield from _pipe_names(node.pipe)


def _pipe_names(pipe: Pipe | None) -> Iterator[str]:
    for command in pipe.commands if pipe is not None else ():
        for arg in command.args:
            if isinstance(arg, Field):
                yield from arg.names
            elif isinstance(arg, Variable):
                yield arg.name
                yield from arg.names
            elif isinstance(arg, Chain):
                yield from _pipe_names(arg.operand)
                yield from arg.names
            elif isinstance(arg, Pipe):
                yield from _pipe_names(arg)
