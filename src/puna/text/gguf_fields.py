"""Reading one value of a GGUF file's metadata, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from puna.errors import TokenizerError
from puna.text.ids import MOST_IDS, short

MODEL = "tokenizer.ggml.model"
_TOKENS = "tokenizer.ggml.tokens"
_TYPES = "tokenizer.ggml.token_type"
_SCORES = "tokenizer.ggml.scores"
_CHARSMAP = "tokenizer.ggml.precompiled_charsmap"
_LONGEST_PIECE = 1_024  # a published piece has at most a few hundred
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


class Type(IntEnum):
    """What a piece is for: `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The pieces by id, what each is for, and the ids by piece.

    User-defined pieces have their spaces as spaces, because they are looked for in the text as it
    stands. Pieces that converters put in to fill a padded vocabulary are unused.
    """

    pieces: list[str]
    types: list[int]
    ids: dict[str, int]


def vocabulary(metadata: Mapping[str, Any], where: str) -> Vocabulary:
    """Pieces and types.

    Raises:
        TokenizerError: no pieces, too many, one twice, or types of another number.
    """
    pieces = texts(metadata, _TOKENS, where)
    if not 0 < len(pieces) <= MOST_IDS:
        raise TokenizerError(
            f"a vocabulary of {len(pieces):,} pieces cannot be one", where=f"{where}, {_TOKENS}"
        )
    types = _types(metadata, len(pieces), where)
    escaped = metadata.get(MODEL) != "gpt2"  # where `▁` is a space; else it is itself
    ids: dict[str, int] = {}
    for token, piece in enumerate(pieces):
        if piece in ("", f"[PAD{token}]"):
            pieces[token] = piece = piece or f"[EMPTY_{token}]"
            types[token] = Type.UNUSED
        elif len(piece) > _LONGEST_PIECE:
            raise TokenizerError(
                f"piece {token} has {len(piece):,} characters, at most {_LONGEST_PIECE:,} can be",
                where=f"{where}, {_TOKENS}",
            )
        elif types[token] == Type.USER_DEFINED and escaped:
            pieces[token] = piece = piece.replace("▁", " ")
        if ids.setdefault(piece, token) != token:
            raise TokenizerError(
                f"the piece {short(repr(piece))} has two ids: {ids[piece]} and {token}",
                where=f"{where}, {_TOKENS}",
            )
    return Vocabulary(pieces, types, ids)


def _types(metadata: Mapping[str, Any], count: int, where: str) -> list[int]:
    values = _array(metadata, _TYPES, where)
    if values is None:
        return [Type.NORMAL] * count
    types = [_whole(value, f"{where}, {_TYPES}") for value in values]
    _check_count(types, count, f"{where}, {_TYPES}")
    for token, kind in enumerate(types):
        if not 0 <= kind <= Type.BYTE:
            raise TokenizerError(
                f"piece {token} has the unknown type {kind}", where=f"{where}, {_TYPES}"
            )
        # What is of no type is an ordinary piece.
        types[token] = kind or Type.NORMAL
    return types


def scores(metadata: Mapping[str, Any], count: int, where: str) -> list[float]:
    """One finite score a piece.

    Raises:
        TokenizerError: none, another number of them, or one that is no number.
    """
    place = f"{where}, {_SCORES}"
    values = _array(metadata, _SCORES, where)
    if values is None:
        raise TokenizerError("the vocabulary has no scores, so it cannot be merged", where=place)
    _check_count(values, count, place)
    numbers: list[float] = []
    for token, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise TokenizerError(f"the score of piece {token} is no number", where=place)
        if math.isinf(value):
            raise TokenizerError(f"the score of piece {token} is not finite", where=place)
        numbers.append(float(value))
    return numbers


def charsmap(metadata: Mapping[str, Any], where: str) -> bytes:
    """SentencePiece's compiled normalization, or no bytes.

    Raises:
        TokenizerError: an array of something other than bytes.
    """
    values = _array(metadata, _CHARSMAP, where)
    if values is None:
        return b""
    try:
        return bytes(value & 0xFF for value in values)  # written as signed or unsigned bytes
    except TypeError:
        raise TokenizerError(
            "the normalization must be an array of bytes", where=f"{where}, {_CHARSMAP}"
        ) from None


def texts(metadata: Mapping[str, Any], key: str, where: str) -> list[str]:
    """An array of texts.

    Raises:
        TokenizerError: it is not there, or holds something else, or text that is not UTF-8.
    """
    values = _array(metadata, key, where)
    if values is None:
        raise TokenizerError(f"the file has no {key}", where=where)
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise TokenizerError(f"entry {number} is not text", where=f"{where}, {key}")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise TokenizerError(f"entry {number} is not UTF-8", where=f"{where}, {key}")
    return list(values)


def text(metadata: Mapping[str, Any], key: str, where: str) -> str | None:
    """One text, or None where the key is absent or empty.

    Raises:
        TokenizerError: something else.
    """
    value = metadata.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise TokenizerError(f"{key} must be text, not {type(value).__name__}", where=where)


def flag(metadata: Mapping[str, Any], key: str, where: str) -> bool | None:
    """True, false, or None where the key is absent.

    Raises:
        TokenizerError: something else.
    """
    value = metadata.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise TokenizerError(f"{key} must be true or false, not {short(repr(value))}", where=where)


def identifier(metadata: Mapping[str, Any], key: str, size: int, where: str) -> int | None:
    """A token's id, or None where the key is absent.

    Raises:
        TokenizerError: no whole number, or one outside the vocabulary.
    """
    value = metadata.get(key)
    if value is None:
        return None
    token = _whole(value, f"{where}, {key}")
    if not 0 <= token < size:
        raise TokenizerError(
            f"the id {token} is outside the vocabulary of {size:,}", where=f"{where}, {key}"
        )
    return token


def _array(metadata: Mapping[str, Any], key: str, where: str) -> Sequence[Any] | None:
    value = metadata.get(key)
    if value is None:
        return None
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list | tuple):
        raise TokenizerError(f"{key} must be an array", where=where)
    return value


def _check_count(values: Sequence[Any], count: int, place: str) -> None:
    if len(values) != count:
        raise TokenizerError(f"{len(values):,} entries for {count:,} pieces", where=place)


def _whole(value: Any, place: str) -> int:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TokenizerError(f"{short(repr(value))} is no whole number", where=place)
    return value
