"""How much longer the steps of a tokenizer may make a text: a small file must not fill memory."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from typing import Any, Final

from puna.errors import TokenizerError

_MOST: Final = 1_000  # characters that may be made of one; published tokenizers make some dozen
_INNER: Final = ("normalizers", "pretokenizers", "decoders", "processors")


def described(part: Any) -> dict[str, Any]:
    """What a tokenizer.json says of one part of the library's tokenizer; `{}` for none."""
    found: dict[str, Any] = json.loads(part.__getstate__()) if part is not None else {}
    return found


def check_growth(library: Any, name: str, where: str) -> None:
    """Refuses steps that multiply: a few hundred bytes could make gigabytes of a letter.

    Raises:
        TokenizerError: they make too many characters of one.
    """
    parts = (library.normalizer, library.pre_tokenizer, library.decoder, library.post_processor)
    steps, growth = [described(part) for part in parts], 1
    while steps:
        step = steps.pop()
        growth *= max(1, _growth(step))
        for inner in _INNER:
            steps += step.get(inner, ())
    if growth > _MOST:
        shown = f"{growth:,}" if growth < 1 << 60 else "endlessly many"
        raise TokenizerError(
            f"{name} replaces a character by up to {shown}, at most {_MOST} are allowed",
            where=where,
        )


def _growth(step: dict[str, Any]) -> int:
    """Return how many characters one step may make of one; 0 where it makes none longer."""
    match step.get("type"):
        case "ByteLevel":
            return 2  # bytes become characters of one or two bytes each
        case "Replace":
            # What may match nothing puts its text between any two characters.
            sure = bool(step.get("pattern", {}).get("String"))
            return len(step.get("content", "")) + (not sure)
        case "Prepend":
            return len(step.get("prepend", ""))
        case "Precompiled":
            return _longest(step.get("precompiled_charsmap", ""))
        case "TemplateProcessing":
            return sum("Sequence" in piece for piece in step.get("single", ()))
    return 0


def _longest(charsmap: str) -> int:
    """Return the bytes of the longest text in SentencePiece's compiled normalization.

    It is the size of a search tree in bytes, the tree, and the texts, each ended by a zero.
    """
    try:
        raw = base64.b64decode(charsmap)
        start = 4 + struct.unpack_from("<I", raw)[0]
    except (binascii.Error, struct.error):
        return 0  # the library refused it, or it is empty
    return max(map(len, raw[start:].split(b"\0")))
