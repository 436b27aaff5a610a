"""One entry for a tokenizer in whatever form it lies: a folder, or a single file."""

from __future__ import annotations

from pathlib import Path

from puna.errors import TokenizerError
from puna.formats.folder import check_folder
from puna.formats.gguf import MAGIC, find_gguf, read_gguf
from puna.text.bpe import load_json
from puna.text.files import read_head
from puna.text.gguf_vocab import tokenizer_from_gguf
from puna.text.pretokenizers import refuse
from puna.text.settings import NO_SETTINGS, SETTINGS, Settings, read_settings
from puna.text.slow import MERGES, VOCABULARY, load_slow
from puna.text.tiktoken import looks_like_tiktoken
from puna.text.tokenizer import JSON, MODEL, RANKS, Tokenizer, load_model, load_tokenizer

_FORMS = f"{JSON}, {MODEL}, {RANKS}, *.tiktoken, or {VOCABULARY} with {MERGES}"
_PIECES = b"\n"  # the tag of a SentencePiece model's first field


def open_tokenizer(path: Path, *, pre: str | None = None) -> Tokenizer:
    """Reads a tokenizer from a folder or from one file, whose form its first bytes tell.

    A folder may be a model's, or hold tokenizer files or one GGUF file only. A file is a GGUF, a
    tokenizer.json, a SentencePiece model, a tiktoken rank file, or one of vocab.json and
    merges.txt with the other beside it. The settings beside a file are read if it has the name
    that checkpoints give it.

    Args:
        path: the folder or file.
        pre: the pre-tokenizer's name, for a form that cannot say it.

    Raises:
        TokenizerError: nothing there that is a tokenizer, or one that is broken.
        SourceError: a link that leads out of the folder, or a pipe or device in it.
        FormatError: a GGUF file that is broken.
    """
    if path.is_dir():
        return _folder(path, pre)
    if not path.is_file():  # a pipe would never end
        raise TokenizerError(
            f"there is no file or folder {path.name!r:.120}",
            where=str(path),
            remedy="give a model, a folder with tokenizer files, or a tokenizer's file",
        )
    head = read_head(path)
    if head.startswith(MAGIC):
        return tokenizer_from_gguf(read_gguf(path).metadata, str(path), pre=pre)
    if path.name in (VOCABULARY, MERGES):
        return _pair(path.parent, pre)
    if head.lstrip(b" \t\r\n").startswith(b"{"):
        refuse(pre, path.name, str(path))
        settings, files = _beside(path, path.name == JSON)
        return load_json(path, settings, files)
    named = path.name in (MODEL, RANKS) or path.suffix == ".tiktoken"
    if not named and not (head.startswith(_PIECES) or looks_like_tiktoken(head)):
        raise TokenizerError(
            f"{path.name[:120]} is no tokenizer of a known form",
            where=str(path),
            remedy=f"the forms are a GGUF file, {_FORMS}",
        )
    settings, files = _beside(path, named)
    return load_model(path, settings, files, pre=pre)


def _folder(folder: Path, pre: str | None) -> Tokenizer:
    check_folder(folder)
    tokenizer = load_tokenizer(folder, pre=pre)
    if tokenizer is None:
        models = find_gguf(folder)
        if len(models) == 1:
            return open_tokenizer(models[0], pre=pre)
        raise TokenizerError(
            f"the folder {folder.name!r:.120} holds no tokenizer",
            where=str(folder),
            remedy=f"it needs {_FORMS}; of several GGUF files name one",
        )
    return tokenizer


def _pair(folder: Path, pre: str | None) -> Tokenizer:
    names = (VOCABULARY, MERGES, *SETTINGS)
    files = tuple(folder / name for name in names if (folder / name).is_file())
    return load_slow(folder, read_settings(folder), files, pre=pre)


def _beside(path: Path, named: bool) -> tuple[Settings, tuple[Path, ...]]:
    """The settings beside a file that has the name checkpoints give it, and the files of both."""
    if not named:
        return NO_SETTINGS, (path,)
    beside = (path.with_name(name) for name in SETTINGS)
    return read_settings(path.parent), (path, *(file for file in beside if file.is_file()))
