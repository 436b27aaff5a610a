"""Walks the tree of a Go template, under the meter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from puna.text.gotmpl import functions
from puna.text.gotmpl.nodes import (
    Action,
    Block,
    Call,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    If,
    Leave,
    Literal,
    Pipe,
    Range,
    Text,
    Variable,
    With,
)
from puna.text.gotmpl.parser import Tree
from puna.text.gotmpl.values import Failed, bare, items, truth, written
from puna.text.gotmpl.values import field as field_of
from puna.text.meter import Stop

_DEEPEST = 100  # templates and blocks within each other
Variables = list[tuple[str, Any]]


class Wrong(Exception):
    """The template failed; `line` is where."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


class _Left(Exception):
    """`{{break}}` or `{{continue}}` on its way to the loop."""

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends


@dataclass(slots=True)
class Walk:
    """One rendering of one tree.

    `marks` are the turns of loops over `watched`, as (element's index, start, end) in characters
    of the output; the turn that is not over has no mark.
    """

    tree: Tree
    context: functions.Context
    watched: Any = None
    marks: list[tuple[int, int, int]] = field(default_factory=list)
    line: int = 1
    _parts: list[str] = field(default_factory=list)
    _size: int = 0
    _depth: int = 0

    def run(self, block: Block, data: Any) -> str:
        """Renders a block with this data; text of earlier runs stays before it.

        Raises:
            Wrong: the template fails, with the line.
            Stop: a limit of the meter.
        """
        try:
            self._block(block, data, [("$", data)])
        except Failed as exc:
            raise Wrong(str(exc), self.line) from None
        return "".join(self._parts)

    def _emit(self, text: str) -> None:
        self.context.meter.emit(text)
        self._parts.append(text)
        self._size += len(text)

    # Blocks.

    def _block(self, block: Block, dot: Any, variables: Variables) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Stop(f"it nests or calls itself more than {_DEEPEST} deep")
        for node in block:
            self.line = node.line
            self.context.meter.tick()
            match node:
                case Text():
                    self._emit(node.text)
                case Action():
                    self._action(node, dot, variables)
                case If():
                    self._if(node, dot, variables)
                case With():
                    self._with(node, dot, variables)
                case Range():
                    self._range(node, dot, variables)
                case Call():
                    self._call(node, dot, variables)
                case Leave():
                    raise _Left(ends=node.ends)
        self._depth -= 1

    def _action(self, node: Action, dot: Any, variables: Variables) -> None:
        value = self._pipe(node.pipe, dot, variables)
        if not node.pipe.declares:
            self._emit(written(self.context.meter, value))

    def _if(self, node: If, dot: Any, variables: Variables) -> None:
        mark = len(variables)
        chosen = node.body if truth(self._pipe(node.pipe, dot, variables)) else node.orelse
        self._scoped(chosen, dot, variables, mark)

    def _with(self, node: With, dot: Any, variables: Variables) -> None:
        mark = len(variables)
        value = self._pipe(node.pipe, dot, variables)
        if truth(value):
            self._scoped(node.body, value, variables, mark)
        else:
            self._scoped(node.orelse, dot, variables, mark)

    def _scoped(self, block: Block | None, dot: Any, variables: Variables, mark: int) -> None:
        """Runs a block and forgets the variables declared since `mark`."""
        depth = self._depth
        try:
            self._block(block or (), dot, variables)
        finally:
            self._depth = depth
            del variables[mark:]

    def _range(self, node: Range, dot: Any, variables: Variables) -> None:
        mark = len(variables)
        names = node.pipe.declares
        value = self._pipe(node.pipe, dot, variables, declare=False)
        watched = self.watched is not None and bare(value) is self.watched
        turned = False
        for index, (key, element) in enumerate(items(value)):
            turned = True
            self.context.meter.tick()
            start = self._size
            chosen = (element,) if len(names) < 2 else (key, element)
            self._store(node.pipe, chosen, variables)
            try:
                self._scoped(node.body, element, variables, mark)
            except _Left as left:
                if left.ends:
                    break
            finally:
                if watched:
                    self.marks.append((index, start, self._size))
        if not turned:
            self._scoped(node.orelse, dot, variables, mark)

    def _call(self, node: Call, dot: Any, variables: Variables) -> None:
        data = self._pipe(node.pipe, dot, variables) if node.pipe is not None else None
        self._block(self.tree.named[node.name], data, [("$", data)])

    # Pipelines.

    def _pipe(self, pipe: Pipe, dot: Any, variables: Variables, *, declare: bool = True) -> Any:
        """The value of a pipeline; its variables get it unless `declare` is off."""
        value: tuple[Any, ...] = ()
        for command in pipe.commands:
            value = (self._command(command, value, dot, variables),)
        if declare and pipe.declares:
            self._store(pipe, value, variables)
        return value[0]

    def _store(self, pipe: Pipe, values: Sequence[Any], variables: Variables) -> None:
        for name, value in zip(pipe.declares, values, strict=False):
            if not pipe.assigns:
                variables.append((name, value))
                continue
            for index in range(len(variables) - 1, -1, -1):
                if variables[index][0] == name:
                    variables[index] = (name, value)
                    break

    def _command(
        self, command: Command, given: tuple[Any, ...], dot: Any, variables: Variables
    ) -> Any:
        self.context.meter.tick()
        first, *rest = command.args
        if isinstance(first, Function):
            lazy = [self._later(arg, dot, variables) for arg in rest]
            lazy += [_known(value) for value in given]
            if first.name in {"and", "or"}:
                return _first(lazy, wanted=first.name == "or")
            return functions.call(self.context, first.name, [take() for take in lazy])
        if rest or given:
            raise Failed("only a function takes arguments")
        return self._operand(first, dot, variables)

    def _later(self, arg: Any, dot: Any, variables: Variables) -> Callable[[], Any]:
        return lambda: self._operand(arg, dot, variables)

    def _operand(self, operand: Any, dot: Any, variables: Variables) -> Any:
        match operand:
            case Dot():
                return dot
            case Literal():
                return operand.value
            case Field():
                return _path(dot, operand.names)
            case Variable():
                return _path(_variable(operand.name, variables), operand.names)
            case Chain():
                return _path(self._pipe(operand.operand, dot, variables), operand.names)
            case Function():
                return self._command(Command((operand,)), (), dot, variables)
            case Pipe():
                mark = len(variables)
                try:
                    return self._pipe(operand, dot, variables)
                finally:
                    del variables[mark:]
        raise Failed("an operand that is none")


def _known(value: Any) -> Callable[[], Any]:
    return lambda: value


def _first(values: Sequence[Callable[[], Any]], *, wanted: bool) -> Any:
    """The first value whose truth is `wanted`, else the last; none after it is evaluated."""
    if not values:
        raise Failed("and, or need an argument")
    value = None
    for take in values:
        value = take()
        if truth(value) == wanted:
            break
    return value


def _variable(name: str, variables: Variables) -> Any:
    for known, value in reversed(variables):
        if known == name:
            return value
    raise Failed(f"the variable {name} is not declared")


def _path(value: Any, names: Sequence[str]) -> Any:
    for index, name in enumerate(names):
        if bare(value) is None:
            if index:
                raise Failed(f"there is no .{name} in nil")
            return None
        value = field_of(value, name)
    return value
