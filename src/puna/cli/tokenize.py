"""`puna tokenize`: text to ids and back, with a model or with nothing but its tokenizer."""

from __future__ import annotations

import json as json_text
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from puna.cli.show import err, out, print_json
from puna.errors import UsageError

if TYPE_CHECKING:
    from puna.text import Tokenizer

_IDS = re.compile(r"\s*\d+(?:(?:\s*,\s*|\s+)\d+)*\s*")
_STYLES = ("black on bright_cyan", "black on bright_yellow")
_SPECIAL = "bold white on magenta"
_MOST_SHOWN = 400  # ids that people are shown one by one


def tokenize_command(
    path: str,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    decode: Annotated[bool, Parameter(negative=())] = False,
    pre: str | None = None,
    special: bool = False,
    parse_special: bool = True,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Turn text into token ids, or ids into text with --decode.

    Parameters
    ----------
    path
        A model, a folder that holds only tokenizer files, a GGUF file, a tokenizer.json, a
        SentencePiece model or a tiktoken file.
    text
        The text; with --decode the ids, between commas or spaces or as a JSON list. `-`, or
        nothing, reads it from stdin to its last character.
    decode
        Go back from ids to text.
    pre
        The pre-tokenizer's name, where the file cannot say it; a wrong name lists them all.
    special
        Add BOS and EOS as the model does to a prompt; with --decode, take them off.
    parse_special
        Read `</s>` in the text as the special token; without, it is ordinary text.
    json
        Print one JSON object with `text`, `ids` and `pieces`.
    """
    from puna.text import open_tokenizer

    given = _given(text)
    with err.status("reading the tokenizer"):
        tokenizer = open_tokenizer(_place(path), pre=pre)
    if decode:
        ids = read_ids(given)
        given = tokenizer.decode(_bare(tokenizer, ids) if special else ids, skip_special=False)
    else:
        ids = tokenizer.encode(given, add_special=special, parse_special=parse_special)
    if json:
        print_json(describe(tokenizer, given, ids))
    elif decode:
        sys.stdout.write(given + "\n" * sys.stdout.isatty())  # a file gets the text, no more
    else:
        _show(tokenizer, given, ids)


def describe(tokenizer: Tokenizer, text: str, ids: list[int]) -> dict[str, Any]:
    """Return text, ids, the vocabulary's spelling of each, and counts, as JSON values."""
    before, after = _around(tokenizer)
    return {
        "text": text,
        "ids": ids,
        "pieces": [tokenizer.piece(token) for token in ids],
        "tokens": len(ids),
        "characters": len(text),
        "bytes": len(text.encode()),
        "vocab_size": tokenizer.vocab_size,
        "special": {"before": before, "after": after},
    }


def read_ids(text: str) -> list[int]:
    """Return ids written between commas or white space, or as a JSON list.

    Raises:
        UsageError: something else.
    """
    try:
        if text.lstrip().startswith("["):
            values = json_text.loads(text)
            if all(type(value) is int for value in values):
                return list(values)
        elif not text.strip():
            return []
        elif _IDS.fullmatch(text):
            return [int(number) for number in re.findall(r"\d+", text)]
    except (ValueError, RecursionError):
        pass
    raise UsageError(
        f"{text[:60]!r} is no list of ids", remedy="give ids as `1 2 3`, `1,2,3` or `[1, 2, 3]`"
    )


def _given(text: str | None) -> str:
    if text not in (None, "-"):
        return str(text)
    if text is None and sys.stdin.isatty():
        raise UsageError("there is no text", remedy="give it as an argument, or through stdin")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not UTF-8 (byte {error.start})") from None


def _place(path: str) -> Path:
    from puna.source import builtin_names, resolve

    place = Path(path).expanduser()
    return place if path not in builtin_names() and place.exists() else resolve(path).path


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after a text."""
    bare = tokenizer.encode("a", add_special=False)
    whole = tokenizer.encode("a", add_special=True)
    start = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def _bare(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    before, after = _around(tokenizer)
    if before and ids[: len(before)] == before:
        ids = ids[len(before) :]
    if after and ids[-len(after) :] == after:
        ids = ids[: -len(after)]
    return ids


def _show(tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
    line = Text()
    for number, token in enumerate(ids[:_MOST_SHOWN]):
        style = _SPECIAL if token in tokenizer.special_ids else _STYLES[number % 2]
        line.append(_printable(tokenizer, token), style)
    if len(ids) > _MOST_SHOWN:
        line.append(f" … and {len(ids) - _MOST_SHOWN:,} more", "dim")
    out.print(line)
    out.print(Text(" ".join(map(str, ids)), "dim"), soft_wrap=True)
    counts = {"token": len(ids), "character": len(text), "byte": len(text.encode())}
    out.print(Text(", ".join(f"{n:,} {what}{'s' * (n != 1)}" for what, n in counts.items())))


def _printable(tokenizer: Tokenizer, token: int) -> str:
    """The text of one id, with signs for what a terminal would not show or would obey."""
    piece = tokenizer.piece(token)
    alone = tokenizer.decode([token], skip_special=False)
    if "\N{REPLACEMENT CHARACTER}" in alone or not alone:  # a part of a character
        alone = piece
    elif piece.startswith("▁") and not alone.startswith(" "):
        alone = f" {alone}"  # the decoder takes the space that begins a text off
    signs = {" ": "·", "\n": "⏎", "\t": "⇥"}
    return "".join(
        signs.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode())
        for c in alone
    )
