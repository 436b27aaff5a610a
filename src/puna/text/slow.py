"""A folder with only `vocab.json` and `merges.txt`: byte-level BPE as GPT-2 published it.

The two files do not say how text is cut. tokenizer_config.json names the tokenizer's class, and
the class says it; without one the pre-tokenizer comes by name, or the vocabulary is a known one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from puna.errors import TokenizerError
from puna.text import byte_level
from puna.text.bpe import JsonTokenizer
from puna.text.files import check_size, read_object, read_text
from puna.text.ids import MOST_IDS, check_text, short
from puna.text.pretokenizer import PreTokenizer
from puna.text.pretokenizers import byte_level_pretokenizer, choices
from puna.text.published import by_pieces, completed
from puna.text.rebuild import Merge, byte_level_bpe, origin_of
from puna.text.settings import AddedToken, Settings

VOCABULARY = "vocab.json"
MERGES = "merges.txt"
_MOST_BYTES = 256 << 20
BY_CLASS = {
    "CodeGenTokenizer": "gpt-2",
    "CohereTokenizer": "command-r",
    "GPT2Tokenizer": "gpt-2",
    "GPTNeoXTokenizer": "gpt-neox",
    "Qwen2Tokenizer": "qwen2",
    "Qwen3_5Tokenizer": "qwen35",
}


def load_slow(
    folder: Path, settings: Settings, files: tuple[Path, ...], *, pre: str | None = None
) -> JsonTokenizer:
    """Reads vocab.json and merges.txt with what the files beside them say.

    Args:
        folder: where they lie.
        settings: special tokens and the tokenizer's class.
        files: the files that make up the tokenizer.
        pre: the pre-tokenizer's name; it wins over what the class says.

    Raises:
        TokenizerError: broken files, or a class that is not known; names the file and line.
    """
    vocabulary = _vocabulary(folder / VOCABULARY)
    kind = BY_CLASS.get((settings.kind or "").removesuffix("Fast"))
    known = None if pre or kind else by_pieces(vocabulary)
    rule = _rule(folder, settings, pre or kind or (known.pre if known else None))
    settings = completed(settings, known, rule)
    merges = list(_merges(folder / MERGES))
    added = [token for token in settings.added if token.id is not None]
    for token in added:
        _join(vocabulary, token, folder)
    named = {token.content for token in added}
    roles = {role for role in settings.roles.values() if role in vocabulary} - named
    listed = [AddedToken(role, vocabulary[role]) for role in roles if role]
    settings = replace(settings, added=(*added, *listed))
    return byte_level_bpe(vocabulary, merges, rule, settings, origin_of(folder / VOCABULARY, files))


def _rule(folder: Path, settings: Settings, name: str | None) -> PreTokenizer:
    if name is None:
        kind = settings.kind
        said = f"the class {short(kind)} does not say" if kind else "nothing says"
        raise TokenizerError(
            f"{VOCABULARY} and {MERGES} hold a vocabulary, and {said} how its tokenizer cuts text",
            where=str(folder),
            remedy=choices(),
        )
    return byte_level_pretokenizer(name, VOCABULARY, str(folder))


def _vocabulary(path: Path) -> dict[str, int]:
    check_size(path, _MOST_BYTES)
    vocabulary = read_object(path)
    seen: dict[int, str] = {}
    for piece, token in vocabulary.items():
        check_text(piece, str(path))
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < MOST_IDS:
            raise TokenizerError(f"{short(repr(token))} is not a token id", where=str(path))
        if seen.setdefault(token, piece) != piece:
            raise TokenizerError(
                f"id {token} belongs to {short(repr(seen[token]))} and to {short(repr(piece))}",
                where=str(path),
            )
    # Bytes that no UTF-8 has, and control characters, may be left out; these never are.
    printable = byte_level.spell(bytes(range(0x20, 0x7F)))
    missing = next((c for c in printable if c not in vocabulary), None)
    if missing is not None:
        raise TokenizerError(
            f"no piece is the single byte 0x{byte_level.BYTE_OF[missing]:02X}, so this is no "
            "byte-level vocabulary",
            where=str(path),
        )
    return vocabulary


def _merges(path: Path) -> Iterator[Merge]:
    check_size(path, _MOST_BYTES)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise TokenizerError(
                f"the line {short(repr(line[:80]))} is not two pieces",
                where=f"{path}, line {number}",
            )
        yield pair[0], pair[1]


def _join(vocabulary: dict[str, int], token: AddedToken, folder: Path) -> None:
    number = token.id or 0
    if vocabulary.setdefault(token.content, number) != number:
        raise TokenizerError(
            f"the token {short(repr(token.content))} has id {vocabulary[token.content]} in "
            f"{VOCABULARY} and id {number} in the files beside it",
            where=str(folder),
        )
