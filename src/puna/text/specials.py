"""The ids that begin, end and fill a sequence, from every file that names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.errors import TokenizerError
from puna.text.files import copy_files, read_object_if_any
from puna.text.ids import short
from puna.text.tokenizer import Tokenizer

_GENERATION = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Specials:
    """Ids: the one that begins a sequence, all that end it, the one that fills a batch."""

    bos: int | None
    eos: frozenset[int]
    pad: int | None


def read_specials(folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer | None) -> Specials:
    """Gathers the special ids of a checkpoint.

    `eos` is the union of generation_config.json, config.json (`config`) and the tokenizer;
    `bos` and `pad` are the tokenizer's, else generation_config.json's, else `config`'s. The
    end-of-turn token of a chat template is not guessed: it ends generation if a file says so.

    Raises:
        TokenizerError: an id that is not a whole number.
    """
    generation = read_object_if_any(folder / _GENERATION)
    sources = ((generation, str(folder / _GENERATION)), (config, str(folder / "config.json")))
    eos = {token for source, where in sources for token in _ids(source, "eos_token_id", where)}
    bos = [token for source, where in sources for token in _ids(source, "bos_token_id", where)]
    pad = [token for source, where in sources for token in _ids(source, "pad_token_id", where)]
    if tokenizer is not None:
        eos |= {token for token in (tokenizer.eos_id,) if token is not None}
        bos = [token for token in (tokenizer.bos_id,) if token is not None] + bos
        pad = [token for token in (tokenizer.pad_id,) if token is not None] + pad
    return Specials(bos[0] if bos else None, frozenset(eos), pad[0] if pad else None)


def save_specials(source: Path, folder: Path) -> tuple[Path, ...]:
    """Copies what the folder `source` says about special ids outside config.json and tokenizer.

    Raises:
        StorageError: a file that could not be read or written.
    """
    file = source / _GENERATION
    return copy_files((file,) if file.is_file() else (), folder)


def _ids(source: Mapping[str, Any], key: str, where: str) -> list[int]:
    """The ids of one key; null and the published -1 both mean none."""
    value = source.get(key)
    entries = value if isinstance(value, list) else [value]
    ids = []
    for entry in entries:
        if entry is None:
            continue
        if isinstance(entry, bool) or not isinstance(entry, int):
            raise TokenizerError(f"{key} must be a token id, not {short(repr(entry))}", where=where)
        if entry >= 0:
            ids.append(entry)
    return ids
