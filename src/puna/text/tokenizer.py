"""The tokenizer: what a checkpoint publishes, and nothing added to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from puna.text.bpe import load_json
from puna.text.files import copy_files
from puna.text.settings import ADDED, CONFIG, NO_SETTINGS, SPECIAL_MAP, read_settings
from puna.text.spm import load_sentencepiece
from puna.text.stream import Detokenizer

_JSON = "tokenizer.json"
_SENTENCEPIECE = "tokenizer.model"
_BESIDE = (_JSON, _SENTENCEPIECE, CONFIG, SPECIAL_MAP, ADDED, "vocab.json", "merges.txt")


class Tokenizer(Protocol):
    """Text to ids and back, as the checkpoint's files say. Immutable; safe across threads."""

    @property
    def vocab_size(self) -> int:
        """The largest id + 1. The model's own vocabulary may be padded beyond it."""

    @property
    def bos_id(self) -> int | None:
        """The id that begins a sequence."""

    @property
    def eos_id(self) -> int | None:
        """The id that ends a sequence."""

    @property
    def pad_id(self) -> int | None:
        """The id that fills a batch."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Control tokens: skipped by `decode`, and not text for `parse_special=False`."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files in the folder that make up this tokenizer."""

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Ids of a text.

        Args:
            text: any text without lone surrogates.
            add_special: add BOS (and EOS) where the checkpoint does. A rendered chat template
                has its BOS in the text and is encoded without.
            parse_special: "</s>" in the text is the token; False: it is ordinary text, for text
                that nobody vouches for.

        Raises:
            TokenizerError: text that cannot be encoded.
        """

    def encode_spans(
        self, text: str, *, add_special: bool = False
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and for each the characters [start, end) of the text that it stands for.

        Bytes of one character all have that character's span; added BOS and EOS have (0, 0)
        and (len, len).
        """

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of ids; bytes that are no character become U+FFFD.

        Raises:
            TokenizerError: an id that the tokenizer does not have.
        """

    def detokenizer(self, *, skip_special: bool) -> Detokenizer:
        """The state behind `TextStream`."""

    def piece(self, token: int) -> str:
        """The vocabulary's own spelling of an id, such as `▁Hello` or `Ġhello`.

        Raises:
            TokenizerError: an id that the tokenizer does not have.
        """

    def id_of(self, piece: str) -> int | None:
        """The id of a piece in the vocabulary's own spelling."""


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """Reads the tokenizer of a checkpoint's folder; None where it has none.

    tokenizer.json wins over the SentencePiece tokenizer.model. tokenizer_config.json,
    special_tokens_map.json and added_tokens.json add what they say about special tokens.

    Raises:
        TokenizerError: a file that is broken, or files that contradict each other; names it.
    """
    files = tuple(folder / name for name in _BESIDE if (folder / name).is_file())
    if (folder / _JSON).is_file():
        return load_json(folder / _JSON, read_settings(folder), files)
    if (folder / _SENTENCEPIECE).is_file():
        return load_sentencepiece(folder / _SENTENCEPIECE, read_settings(folder), files)
    return None


def tokenizer_at(path: Path) -> Tokenizer | None:
    """Reads the tokenizer of a folder, or one file alone; None for a folder without one.

    A file that ends in .json is read as a tokenizer.json, any other as a SentencePiece model; what
    stands beside it is not looked at.

    Raises:
        TokenizerError: as `load_tokenizer`.
    """
    if path.is_dir():
        return load_tokenizer(path)
    if path.suffix == ".json":
        return load_json(path, NO_SETTINGS, (path,))
    return load_sentencepiece(path, NO_SETTINGS, (path,))


def specials_of(tokenizer: Tokenizer) -> list[str]:
    """The special tokens as they are written in text, in the order of their ids."""
    return [tokenizer.piece(token) for token in sorted(tokenizer.special_ids)]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> tuple[Path, ...]:
    """Copies the tokenizer's files byte by byte; returns the new paths.

    Raises:
        StorageError: a file that could not be read or written.
    """
    return copy_files(tokenizer.files, folder)
