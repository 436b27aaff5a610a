"""How a text is cut before byte pairs are merged: the records, and what carries them out.

A vocabulary and its merges do not say how the text was cut when they were learned; cut otherwise,
the same vocabulary gives other ids, and no error. `puna.text.pretokenizers` has one record for
each published way. The steps are the `tokenizers` library's own, so a record does what a
tokenizer.json with the same steps does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Regex, normalizers, pre_tokenizers


@dataclass(frozen=True, slots=True)
class Split:
    """Every match of a pattern (Oniguruma's syntax) is a piece, and so is what lies between."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Digits:
    """Digits stand apart from other text: each `single`, or as runs."""

    single: bool


@dataclass(frozen=True, slots=True)
class Punctuation:
    """Runs of punctuation stand apart from other text."""


@dataclass(frozen=True, slots=True)
class Words:
    """GPT-2's words: contractions, letters, digits or signs with the space before them."""


Step = Split | Digits | Punctuation | Words


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One published way to cut text.

    `names`: the first is the one to show; all are accepted, as a GGUF file, a tiktoken encoding
    or a tokenizer's class has them. `models`: who uses it, in words. `steps`: carried out one
    after the other, each on the pieces of the one before. `normalizer`: what is done to the text
    first. `whole`: a piece that is in the vocabulary is taken as it is, before any merge. `bos`:
    whether BOS comes first where the file does not say, or even where it says no. `eos`: whether
    EOS comes last where the file does not say. `spelling`:
    what the vocabulary spells its pieces in: GPT-2's stand-ins for bytes, or plain text with `▁`
    for a space.
    """

    names: tuple[str, ...]
    models: str
    steps: tuple[Step, ...]
    normalizer: Literal["NFC"] | None = None
    whole: bool = False
    bos: Literal["no", "default", "always"] = "no"
    eos: bool = False
    spelling: Literal["byte level", "plain"] = "byte level"

    @property
    def name(self) -> str:
        """The name to show."""
        return self.names[0]


def cutter(rule: PreTokenizer, *, prefix_space: bool = False) -> Any:
    """The `tokenizers` pre-tokenizer of a record of byte-level pieces."""
    parts = [_part(step, prefix_space=prefix_space) for step in rule.steps]
    if Words() not in rule.steps:
        parts.append(_byte_level(prefix_space=prefix_space, words=False))
    return parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)


def normalizer(rule: PreTokenizer) -> Any:
    """The `tokenizers` normalizer of a record, or None."""
    return normalizers.NFC() if rule.normalizer == "NFC" else None


def _part(step: Step, *, prefix_space: bool) -> Any:
    match step:
        case Split(pattern):
            return pre_tokenizers.Split(Regex(pattern), "isolated")
        case Digits(single):
            return pre_tokenizers.Digits(individual_digits=single)
        case Punctuation():
            return pre_tokenizers.Punctuation("contiguous")
        case Words():
            return _byte_level(prefix_space=prefix_space, words=True)


def _byte_level(*, prefix_space: bool, words: bool) -> Any:
    return pre_tokenizers.ByteLevel(
        add_prefix_space=prefix_space, trim_offsets=False, use_regex=words
    )
