"""Checks and wording that the readers of this room share."""

from __future__ import annotations

import re
from typing import Final

from puna.errors import TokenizerError

_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Ids of a vocabulary at most; the largest published one has about 260,000.
MOST_IDS: Final = 2_000_000
_LONGEST = 300  # characters of a foreign text inside an error


def short(reason: object) -> str:
    """What a file or a library says, fit for an error: one line, cut, nothing a terminal obeys."""
    text = " ".join(str(reason)[: 10 * _LONGEST].split())
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def check_text(text: str, where: str | None = None) -> None:
    """Refuses text that has no UTF-8.

    Raises:
        TokenizerError: a lone surrogate; says where.
    """
    if not isinstance(text, str):
        raise TokenizerError(f"only text can be encoded, not {type(text).__name__}")
    found = _SURROGATE.search(text)
    if found:
        raise TokenizerError(
            f"the text has a lone surrogate (U+{ord(found[0]):04X}) at character {found.start()}",
            where=where,
            remedy="decode the text as UTF-8 before it gets here",
        )


def unknown_id(token: int, vocab_size: int) -> TokenizerError:
    """The error for an id that the tokenizer does not have."""
    return TokenizerError(
        f"the tokenizer has no id {token}; its ids are below {vocab_size}",
        remedy="a model's vocabulary may be padded: never sample from its padding",
    )
