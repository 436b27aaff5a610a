"""Tokens to the tree of a Go template; names of functions and variables are checked here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NoReturn

from puna.text.gotmpl.lexer import GoSyntaxError, Token, tokens
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
    Node,
    Pipe,
    Range,
    Text,
    Variable,
    With,
)

_DEEPEST = 50  # blocks within blocks, and brackets within brackets
_CONSTANTS = {"true": True, "false": False, "nil": None}
_KEYWORDS = frozenset(
    {"if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"}
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed template: the main block, and those that `{{define}}` names."""

    root: Block
    named: dict[str, Block] = field(default_factory=dict)


def parse(source: str, functions: Collection[str]) -> Tree:
    """Parses a template.

    Raises:
        GoSyntaxError: with the line: a syntax error, an unknown function or variable, a template
            that is called and not defined.
    """
    parser = _Parser(list(tokens(source)), frozenset(functions))
    root, _ = parser.block(frozenset())
    for name, line in parser.called:
        if name not in parser.named:
            raise GoSyntaxError(f"the template {name!r} is not defined", line)
    return Tree(root, parser.named)


class _Parser:
    def __init__(self, found: list[Token], functions: frozenset[str]) -> None:
        self._tokens = found
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._loops = 0
        self._depth = 0
        self.named: dict[str, Block] = {}
        self.called: list[tuple[str, int]] = []

    # Blocks.

    def block(self, ends: frozenset[str]) -> tuple[Block, str]:
        """The nodes up to one of the words in `ends`, which is taken and returned."""
        nodes: list[Node] = []
        self._deeper()
        while self._at < len(self._tokens):
            token = self._next()
            if token.kind == "text":
                nodes.append(Text(str(token.value), token.line))
                continue
            word = self._word()
            if word in ends:
                self._depth -= 1
                return tuple(nodes), str(word)
            node = self._node(word, token.line)
            if node is not None:
                nodes.append(node)
        if ends:
            self._fail("a block has no {{end}}")
        self._depth -= 1
        return tuple(nodes), ""

    def _node(self, word: str | None, line: int) -> Node | None:
        if word not in _KEYWORDS:
            pipe = self._pipe("an action")
            self._close()
            return Action(pipe, line)
        if word in {"else", "end"}:
            self._fail(f"{{{{{word}}}}} without a block that it belongs to")
        self._next()
        match word:
            case "if" | "with" | "range":
                return self._branch(word, line)
            case "break" | "continue":
                self._close()
                if not self._loops:
                    self._fail(f"{{{{{word}}}}} outside of {{{{range}}}}")
                return Leave(word == "break", line)
            case "template":
                return self._call(line)
            case "block":
                return self._named_block(line)
            case _:
                self._define()
                return None

    def _branch(self, word: str, line: int) -> If | With | Range:
        mark = len(self._variables)
        pipe = self._pipe(word, loops=word == "range")
        self._close()
        self._loops += word == "range"
        body, end = self.block(frozenset({"else", "end"}))
        self._loops -= word == "range"
        self._next()
        orelse = self._else(word) if end == "else" else None
        if end == "end":
            self._close()
        del self._variables[mark:]
        kind: type[If] | type[With] | type[Range]
        kind = If if word == "if" else With if word == "with" else Range
        return kind(pipe, body, orelse, line)

    def _else(self, word: str) -> Block:
        """What follows `{{else`: a block, or the same word again, which shares the `{{end}}`."""
        line = self._line()
        if self._word() == word and word != "range":
            self._next()
            self._deeper()
            chained = self._branch(word, line)
            self._depth -= 1
            return (chained,)
        self._close()
        block, _ = self.block(frozenset({"end"}))
        self._next()
        self._close()
        return block

    def _name(self, word: str) -> str:
        token = self._next()
        if token.kind != "text_constant":
            self._fail(f"{word} needs a name in quotes")
        return str(token.value)

    def _call(self, line: int) -> Call:
        name = self._name("template")
        pipe = None if self._peek().kind == "close" else self._pipe("template")
        self._close()
        self.called.append((name, line))
        return Call(name, pipe, line)

    def _define(self) -> None:
        if self._depth > 1:
            self._fail("{{define}} must stand at the top")
        name = self._name("define")
        self._close()
        self.named[name] = self._apart()

    def _named_block(self, line: int) -> Call:
        name = self._name("block")
        pipe = self._pipe("block")
        self._close()
        self.named[name] = self._apart()
        self.called.append((name, line))
        return Call(name, pipe, line)

    def _apart(self) -> Block:
        """The body of a named template, which sees no variables but `$`."""
        variables, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, _ = self.block(frozenset({"end"}))
        self._next()
        self._close()
        self._variables, self._loops = variables, loops
        return body

    # Pipelines.

    def _pipe(self, context: str, *, loops: bool = False, inner: bool = False) -> Pipe:
        line = self._line()
        names, assigns = self._declared(loops=loops)
        commands = [self._command()]
        while self._mark("|"):
            commands.append(self._command())
        for command in commands[1:]:
            if isinstance(command.args[0], Literal | Dot):
                self._fail("a pipeline can end only in a function or field")
        if not inner and self._peek().kind != "close":
            self._fail(f"unexpected {self._peek().value!r} in {context}")
        if not assigns:
            self._variables.extend(names)
        return Pipe(tuple(commands), names, assigns, line)

    def _declared(self, *, loops: bool) -> tuple[tuple[str, ...], bool]:
        """The variables before `:=` or `=`, if that is how the pipeline begins."""
        start, names = self._at, []
        while self._peek().kind == "variable":
            names.append(str(self._next().value))
            token = self._peek()
            if token.kind == "mark" and token.value in {":=", "="}:
                self._next()
                if token.value == "=" and not set(names) <= set(self._variables):
                    self._fail(f"the variable {names[-1]} is not declared")
                return tuple(names), token.value == "="
            if not (loops and len(names) == 1 and self._mark(",")):
                break
        self._at = start
        return (), False

    def _command(self) -> Command:
        args: list[Any] = []
        while True:
            token = self._peek()
            if token.kind == "close" or (token.kind == "mark" and token.value in {"|", ")"}):
                break
            if args and not token.spaced and token.value != "(":
                self._fail(f"unexpected {token.value!r}: a space is missing")
            args.append(self._operand())
        if not args:
            self._fail("a command is empty")
        if args == [Literal(None)]:
            self._fail("nil is not a command")
        if len(args) > 1 and isinstance(args[0], Literal | Dot):
            self._fail("only a function takes arguments")
        return Command(tuple(args))

    def _operand(self) -> Dot | Literal | Field | Variable | Chain | Function | Pipe:
        token = self._next()
        match token.kind:
            case "field":
                return Field((str(token.value), *self._fields()))
            case "variable":
                if token.value not in self._variables:
                    self._fail(f"the variable {token.value} is not declared")
                return Variable(str(token.value), self._fields())
            case "text_constant" | "number":
                return Literal(token.value)
            case "dot":
                return Dot()
            case "name":
                return self._named(str(token.value))
            case "mark" if token.value == "(":
                return self._brackets()
        self._fail(f"unexpected {token.value!r}")

    def _named(self, name: str) -> Literal | Function:
        if name in _CONSTANTS:
            return Literal(_CONSTANTS[name])
        if name not in self._functions:
            self._fail(f"the function {name} is not known in chat templates")
        return Function(name)

    def _brackets(self) -> Chain | Pipe:
        self._deeper()
        pipe = self._pipe("brackets", inner=True)
        if not self._mark(")"):
            self._fail("a bracket is not closed")
        self._depth -= 1
        names = self._fields()
        return Chain(pipe, names) if names else pipe

    def _fields(self) -> tuple[str, ...]:
        names = []
        while self._peek().kind == "field" and not self._peek().spaced:
            names.append(str(self._next().value))
        return tuple(names)

    # Tokens.

    def _peek(self) -> Token:
        if self._at < len(self._tokens):
            return self._tokens[self._at]
        self._fail("the template ends within an action")

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _word(self) -> str | None:
        token = self._peek()
        return str(token.value) if token.kind == "name" else None

    def _mark(self, mark: str) -> bool:
        token = self._peek()
        found = token.kind == "mark" and token.value == mark
        self._at += found
        return found

    def _close(self) -> None:
        token = self._next()
        if token.kind != "close":
            self._fail(f"unexpected {token.value!r}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"it nests more than {_DEEPEST} deep")

    def _line(self) -> int:
        if not self._tokens:
            return 1
        return self._tokens[min(self._at, len(self._tokens) - 1)].line

    def _fail(self, what: str) -> NoReturn:
        raise GoSyntaxError(what, self._line())
