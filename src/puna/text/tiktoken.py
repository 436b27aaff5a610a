"""A tiktoken rank file: on each line the bytes of a token in base64, and its rank.

Ranks are ids, and the lower rank is merged first. The file says neither how text is cut nor
which special tokens there are: the pre-tokenizer comes by name, or from the files beside it, or
from the file's digest where it is a published one; the special tokens come from the files beside
it, or with the name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from puna.errors import TokenizerError
from puna.text import byte_level
from puna.text.bpe import JsonTokenizer
from puna.text.files import check_size, read_bytes
from puna.text.ids import MOST_IDS, short
from puna.text.pretokenizer import PreTokenizer
from puna.text.pretokenizers import byte_level_pretokenizer, choices
from puna.text.published import BY_CLASS, Published, by_digest, by_name, completed
from puna.text.rebuild import all_splits, byte_level_bpe, origin_of
from puna.text.settings import Settings

_LINE = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,7})")
_MOST_BYTES = 64 << 20
_LONGEST_TOKEN = 1_024  # bytes; a published token has at most a few hundred


def looks_like_tiktoken(data: bytes) -> bool:
    """Whether a file begins as a rank file does."""
    return _LINE.fullmatch(data[:4096].split(b"\n", 1)[0].rstrip(b"\r")) is not None


def load_tiktoken(
    path: Path,
    settings: Settings,
    *,
    pre: str | None = None,
    files: tuple[Path, ...] = (),
) -> JsonTokenizer:
    """Reads a rank file.

    Args:
        path: the file.
        settings: special tokens, and the tokenizer's class, from the files beside it.
        pre: the name of the pre-tokenizer; it wins over what the files say.
        files: the files beside it, to be copied with the tokenizer.

    Raises:
        TokenizerError: lines that are no ranks, a rank twice or missing, a byte that no token
            spells, or no way to tell how text is cut; names the line.
    """
    check_size(path, _MOST_BYTES)
    data = read_bytes(path)
    ranks = _read(data, path)
    known = by_digest(data) or BY_CLASS.get(settings.kind or "") or by_name(path.name, len(ranks))
    rule = _rule(pre, known, path)
    settings = completed(settings, known, rule)
    special = {token.content: token.id for token in settings.added if token.id is not None}
    _check_ranks(ranks, set(special.values()), path)
    vocabulary = {byte_level.spell(token): rank for token, rank in ranks.items()}
    merges = all_splits(vocabulary, vocabulary)
    _join(vocabulary, special, path)
    # tiktoken takes a piece that is a token as it is.
    rule = replace(rule, whole=True)
    return byte_level_bpe(vocabulary, merges, rule, settings, origin_of(path, files))


def _rule(pre: str | None, known: Published | None, path: Path) -> PreTokenizer:
    name = pre or (known.pre if known else None)
    if name is None:
        raise TokenizerError(
            f"{path.name} holds ranks, and nothing says how its tokenizer cuts text",
            where=str(path),
            remedy=choices(),
        )
    return byte_level_pretokenizer(name, "ranks of bytes", str(path))


def _read(data: bytes, path: Path) -> dict[bytes, int]:
    """Ranks by token, in the order of the ranks."""
    ranks: dict[bytes, int] = {}
    seen: dict[int, int] = {}
    for number, token, rank in _lines(data, path):
        where = f"{path}, line {number}"
        if token in ranks:
            raise TokenizerError(f"the token {short(repr(token))} comes twice", where=where)
        if rank in seen:
            raise TokenizerError(
                f"rank {rank} comes twice, first on line {seen[rank]}", where=where
            )
        ranks[token] = rank
        seen[rank] = number
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _lines(data: bytes, path: Path) -> Iterator[tuple[int, bytes, int]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.rstrip(b"\r")
        if not line:
            continue
        found = _LINE.fullmatch(line[: 2 * _LONGEST_TOKEN])
        token = _decoded(found[1]) if found else None
        if found is None or not token:
            shown = short(repr(line[:40].decode("ascii", "replace")))
            raise TokenizerError(
                f"the line {shown} is not a token in base64 and a rank",
                where=f"{path}, line {number}",
            )
        rank = int(found[2])
        if len(token) > _LONGEST_TOKEN or rank >= MOST_IDS:
            raise TokenizerError(
                f"a token of {len(token):,} bytes with rank {rank:,} cannot be one",
                where=f"{path}, line {number}",
            )
        yield number, token, rank


def _decoded(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _check_ranks(ranks: Mapping[bytes, int], special: set[int], path: Path) -> None:
    for byte in range(256):
        if bytes([byte]) not in ranks:
            raise TokenizerError(f"no token is the single byte 0x{byte:02X}", where=str(path))
    last = max(ranks.values())
    have = special.union(ranks.values())
    missing = next((rank for rank in range(last) if rank not in have), None)
    # Published vocabularies leave at most one id free before their special tokens.
    first = min((token for token in special if token > last), default=last)
    if missing is None and first > last + 2:
        missing = last + 1
    if missing is not None:
        raise TokenizerError(
            f"rank {missing} is missing, so tokens are lost",
            where=str(path),
            remedy="fetch the file again; a special token in its place must be named beside it",
        )


def _join(vocabulary: dict[str, int], special: Mapping[str, int], path: Path) -> None:
    """Puts the special tokens in; none may be an ordinary one, or have its id."""
    taken = {token: piece for piece, token in vocabulary.items()}
    for content, token in special.items():
        if vocabulary.setdefault(content, token) != token or taken.get(token, content) != content:
            raise TokenizerError(
                f"the special token {short(repr(content))} has id {token} in the files beside "
                f"{path.name}, where the ranks have {short(repr(taken.get(token, content)))}",
                where=str(path),
            )
