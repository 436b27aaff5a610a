"""The tokenizer: what a checkpoint publishes, and nothing added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from puna.errors import TokenizerError
from puna.formats.atomic import write_atomic
from puna.text.bpe import load_json
from puna.text.files import copy_files, read_head
from puna.text.pretokenizers import refuse
from puna.text.settings import SETTINGS, Settings, read_settings
from puna.text.slow import MERGES, VOCABULARY, load_slow
from puna.text.spm import load_sentencepiece
from puna.text.stream import Detokenizer
from puna.text.tiktoken import load_tiktoken, looks_like_tiktoken

JSON = "tokenizer.json"
MODEL = "tokenizer.model"
RANKS = "tiktoken.model"
_BESIDE = (JSON, MODEL, *SETTINGS, VOCABULARY, MERGES)


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
        """The files in the folder that make up this tokenizer; none that `made` writes anew."""

    def made(self) -> Mapping[str, str]:
        """The files, by name, that a saved folder needs beside `files`.

        Empty where `files` is the whole tokenizer; a tokenizer.json for one that was rebuilt.
        """

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

    def bytes_of(self, token: int) -> bytes:
        """The bytes that an id adds to a text; those of a special token are its spelling.

        Raises:
            TokenizerError: an id that the tokenizer does not have.
        """


def load_tokenizer(folder: Path, *, pre: str | None = None) -> Tokenizer | None:
    """Reads the tokenizer of a checkpoint's folder; None where it has none.

    The first of these that is there is read: tokenizer.json; tokenizer.model, which is
    SentencePiece's or a tiktoken rank file; tiktoken.model or one *.tiktoken; vocab.json with
    merges.txt. tokenizer_config.json, special_tokens_map.json and added_tokens.json add what
    they say about special tokens.

    Args:
        folder: the checkpoint's folder.
        pre: the pre-tokenizer's name, where the vocabulary is of a form that cannot say it;
            refused where it can.

    Raises:
        TokenizerError: a file that is broken, files that contradict each other, or a form that
            does not say how text is cut; names it.
    """
    files = tuple(folder / name for name in _BESIDE if (folder / name).is_file())
    if (folder / JSON).is_file():
        refuse(pre, JSON, str(folder / JSON))
        return load_json(folder / JSON, read_settings(folder), files)
    if (folder / MODEL).is_file():
        return load_model(folder / MODEL, read_settings(folder), files, pre=pre)
    ranks = _rank_file(folder)
    if ranks is not None:
        return load_tiktoken(ranks, read_settings(folder), pre=pre, files=_settings_of(files))
    if (folder / VOCABULARY).is_file() and (folder / MERGES).is_file():
        return load_slow(folder, read_settings(folder), files, pre=pre)
    return None


def load_model(
    path: Path, settings: Settings, files: tuple[Path, ...], *, pre: str | None
) -> Tokenizer:
    """Reads a tokenizer.model: a tiktoken rank file if it begins as one, else SentencePiece's.

    Raises:
        TokenizerError: it is neither.
    """
    if looks_like_tiktoken(read_head(path)):
        return load_tiktoken(path, settings, pre=pre, files=_settings_of(files))
    refuse(pre, path.name, str(path))
    return load_sentencepiece(path, settings, files)


def specials_of(tokenizer: Tokenizer) -> list[str]:
    """The special tokens as they are written in text, in the order of their ids."""
    return [tokenizer.piece(token) for token in sorted(tokenizer.special_ids)]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> tuple[Path, ...]:
    """Writes the tokenizer into a folder; returns the new paths.

    Its files are copied byte by byte. One that was rebuilt, as from a GGUF file or from ranks, is
    written as tokenizer.json with a tokenizer_config.json, which Puna and transformers read.

    Raises:
        StorageError: a file that could not be read or written.
    """
    copied = copy_files(tokenizer.files, folder)
    made = {folder / name: text for name, text in tokenizer.made().items()}
    for path, text in made.items():
        write_atomic(path, text.encode())
    return (*copied, *made)


def _rank_file(folder: Path) -> Path | None:
    found = [folder / RANKS] if (folder / RANKS).is_file() else sorted(folder.glob("*.tiktoken"))
    if len(found) > 1:
        raise TokenizerError(
            f"the folder holds {len(found)} tiktoken files", where=str(folder), remedy="name one"
        )
    return found[0] if found else None


def _settings_of(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files that stay beside the tokenizer.json which takes the place of a rank file."""
    return tuple(path for path in files if path.name in SETTINGS)
