"""What the `sentencepiece` library does not tell: types of pieces and model, and its normalizer.

Wire format of protocol buffers: a key (field number · 8 + wire type), then a varint, 8 bytes, a
length with bytes, or 4 bytes. Fields as in sentencepiece_model.proto (Kudo and Richardson 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from puna.errors import TokenizerError

BPE: Final = 2
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3  # of the model
_TYPE = 3  # of a piece, and of the trainer: which model
_CHARSMAP, _FOLD = 2, 4  # of the normalizer
_NORMAL, _UNIGRAM = 1, 1  # what an absent field means


@dataclass(slots=True)
class SpmFacts:
    """The model's type and the type of each piece, by id, as the format numbers them.

    `charsmap`: how the normalizer replaces characters, compiled, or no bytes. `folds`: it makes
    one space of several, and none at the ends.
    """

    kind: int
    types: list[int]
    charsmap: bytes
    folds: bool


def read_facts(model: bytes) -> SpmFacts:
    """Return what a serialized model says.

    Raises:
        TokenizerError: bytes that are no such message.
    """
    facts = SpmFacts(_UNIGRAM, [], charsmap=b"", folds=True)
    for number, value in _fields(model):
        if not isinstance(value, bytes):
            continue
        if number == _PIECE:
            facts.types.append(_number(value, _NORMAL))
        elif number == _TRAINER:
            facts.kind = _number(value, facts.kind)
        elif number == _NORMALIZER:
            for inner, setting in _fields(value):
                if inner == _CHARSMAP and isinstance(setting, bytes):
                    facts.charsmap = setting
                elif inner == _FOLD and isinstance(setting, int):
                    facts.folds = bool(setting)
    return facts


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
