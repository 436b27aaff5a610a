"""What the `sentencepiece` library does not tell: the type of each piece, and of the model.

Wire format of protocol buffers: a key (field number · 8 + wire type), then a varint, 8 bytes, a
length with bytes, or 4 bytes. Fields as in sentencepiece_model.proto (Kudo and Richardson 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from puna.errors import TokenizerError

BPE: Final = 2
_PIECE, _TRAINER = 1, 2  # of the model
_TYPE = 3  # of a piece, and of the trainer: which model
_NORMAL, _UNIGRAM = 1, 1  # what an absent field means


def read_types(model: bytes) -> tuple[int, list[int]]:
    """Return the model's type and the type of each piece, by id; both as the format numbers them.

    Raises:
        TokenizerError: bytes that are no such message.
    """
    kind, types = _UNIGRAM, []
    for number, value in _fields(model):
        if number == _PIECE and isinstance(value, bytes):
            types.append(_number(value, _NORMAL))
        elif number == _TRAINER and isinstance(value, bytes):
            kind = _number(value, kind)
    return kind, types


def _number(message: bytes, absent: int) -> int:
    found = [v for n, v in _fields(message) if n == _TYPE and isinstance(v, int)]
    return found[-1] if found else absent


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        sizes = {1: 8, 5: 4}
        length, at = (sizes[key & 7], at) if key & 7 in sizes else _varint(message, at)
        if key & 7 not in (1, 2, 5) or at + length > len(message):
            raise TokenizerError("the SentencePiece model is broken")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise TokenizerError("the SentencePiece model is broken")
