"""Checks that both kinds of tokenizer share."""

from __future__ import annotations

import re

from puna.errors import TokenizerError

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_text(text: str) -> None:
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
            remedy="decode the text as UTF-8 before it gets here",
        )


def unknown_id(token: int, vocab_size: int) -> TokenizerError:
    """The error for an id that the tokenizer does not have."""
    return TokenizerError(
        f"the tokenizer has no id {token}; its ids are below {vocab_size}",
        remedy="a model's vocabulary may be padded: never sample from its padding",
    )
