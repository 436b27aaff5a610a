"""The tokens of a Go template: literal text, and what stands between `{{` and `}}`."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "text", "open", "close", "name", "field", "variable", "dot", "text_constant", "number", "mark"
]

_SPACE = " \t\r\n"
_TRIMMED = re.compile(r"-(?=[ \t\r\n])")
_END = re.compile(r"[ \t\r\n]+-\}\}|[ \t\r\n]*\}\}")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<field>\.[^\W\d]\w*)
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
        |(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?))
  | (?P<dot>\.)
  | (?P<variable>\$\w*)
  | (?P<name>[^\W\d]\w*)
  | (?P<quoted>"(?:[^"\\\n]|\\.)*")
  | (?P<raw>`[^`]*`)
  | (?P<rune>'(?:[^'\\\n]|\\.)+')
  | (?P<mark>:=|[=,|()])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"""\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))""", re.DOTALL
)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_PLAIN |= {"a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class GoSyntaxError(Exception):
    """The template is not one; `line` is where."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `spaced` tells whether white space stands before it."""

    kind: Kind
    value: str | int | float
    line: int
    spaced: bool = False


def tokens(source: str) -> Iterator[Token]:
    """Yields the tokens of a template; each action is between an `open` and a `close`.

    Raises:
        GoSyntaxError: an action, comment or constant that does not end, or a foreign character.
    """
    at, line, trim = 0, 1, False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        begun = line
        line += text.count("\n")
        body = start + 2
        trims_left = start >= 0 and bool(_TRIMMED.match(source, body))
        shown = text.lstrip(_SPACE) if trim else text
        shown = shown.rstrip(_SPACE) if trims_left else shown
        if shown:
            yield Token("text", shown, begun)
        if start < 0:
            return
        inside = body + trims_left
        comment = _comment_end(source, inside, line)
        if comment is None:
            yield Token("open", "{{", line)
            at, trim = yield from _action(source, inside, line)
            yield Token("close", "}}", line + source.count("\n", start, at))
        else:
            at, trim = comment
        line += source.count("\n", start, at)


def _comment_end(source: str, at: int, line: int) -> tuple[int, bool] | None:
    """Where a comment that begins here ends, and whether it trims; None where none begins."""
    while at < len(source) and source[at] in _SPACE:
        at += 1
    if not source.startswith("/*", at):
        return None
    found = _COMMENT.match(source, at)
    end = _END.match(source, found.end()) if found else None
    if end is None:
        raise GoSyntaxError("a comment does not end, or has something beside it", line)
    return end.end(), "-" in end[0]


def _action(source: str, at: int, line: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens up to `}}`; returns the place after it, and whether it trims what follows."""
    spaced = False
    while True:
        end = _END.match(source, at)
        if end is not None:
            return end.end(), "-" in end[0]
        found = _TOKEN.match(source, at)
        if found is None:
            raise _foreign(source, at, line)
        at = found.end()
        if found.lastgroup == "space":
            line += found[0].count("\n")
            spaced = True
            continue
        yield _token(found, line, spaced)
        line += found[0].count("\n")
        spaced = False


def _foreign(source: str, at: int, line: int) -> GoSyntaxError:
    if at >= len(source) or source.startswith("{{", at):
        return GoSyntaxError("an action is not closed with }}", line)
    if source[at] in "\"'`":
        return GoSyntaxError("a text constant does not end", line)
    return GoSyntaxError(f"unexpected {source[at]!r} in an action", line)


def _token(found: re.Match[str], line: int, spaced: bool) -> Token:
    text = found[0]
    match found.lastgroup:
        case "field":
            return Token("field", text[1:], line, spaced)
        case "variable":
            return Token("variable", text, line, spaced)
        case "quoted":
            return Token("text_constant", _unescaped(text[1:-1], line), line, spaced)
        case "raw":
            return Token("text_constant", text[1:-1], line, spaced)
        case "rune":
            letter = _unescaped(text[1:-1], line)
            if len(letter) != 1:
                raise GoSyntaxError(f"{text} is not one character", line)
            return Token("number", ord(letter), line, spaced)
        case "number":
            return Token("number", _number(text, line), line, spaced)
        case "dot":
            return Token("dot", text, line, spaced)
        case "name":
            return Token("name", text, line, spaced)
        case _:
            return Token("mark", text, line, spaced)


def _number(text: str, line: int) -> int | float:
    try:
        if len(text) > 40:
            raise ValueError
        value = _whole(text)
    except ValueError:
        raise GoSyntaxError(f"{text[:40]} is not a number", line) from None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise GoSyntaxError(f"{text} does not fit 64 bits", line)
    return value


def _whole(text: str) -> int | float:
    bare = text.lstrip("+-")
    if re.fullmatch(r"0[0-7_]+", bare):
        return int(text.replace("_", ""), 8)
    if bare.isdigit() or "_" in bare or bare[:2].lower() in {"0x", "0b", "0o"}:
        return int(text, 0)
    return float(text)


def _unescaped(text: str, line: int) -> str:
    def one(found: re.Match[str]) -> str:
        two, four, eight, octal, plain = found.groups()
        code = two or four or eight
        if code:
            number = int(code, 16)
        elif octal:
            number = int(octal, 8)
        elif plain in _PLAIN:
            return _PLAIN[plain]
        else:
            raise GoSyntaxError(f"unknown escape \\{plain}", line)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise GoSyntaxError(f"{found[0]} is no character", line)
        return chr(number)

    return _ESCAPE.sub(one, text)
