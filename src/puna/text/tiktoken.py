"""A tiktoken rank file: on each line the bytes of a token in base64, and its rank.

Ranks are ids, and the lower rank is merged first. The file says neither how text is cut nor
which special tokens there are: the pre-tokenizer comes by name, or from the files beside it, or
from the file's digest where it is a published one; the special tokens come from the files beside
it, or with the name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from puna.errors import TokenizerError
from puna.text import byte_level
from puna.text.bpe import JsonTokenizer
from puna.text.files import read_bytes
from puna.text.ids import short
from puna.text.pretokenizer import PreTokenizer
from puna.text.pretokenizers import choices, pretokenizer
from puna.text.rebuild import Origin, all_splits, byte_level_bpe
from puna.text.settings import AddedToken, Settings

_LINE = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,7})")
_MOST_BYTES = 64 << 20
_LONGEST_TOKEN = 1_024  # bytes; a published token has at most a few hundred
_MOST_RANK = 2_000_000


@dataclass(frozen=True, slots=True)
class _Published:
    """What a published file does not say itself; `special` by the rank that follows the last."""

    pre: str
    special: Mapping[str, int]
    bos: str | None = None
    eos: str | None = None


_LLAMA_3 = _Published(
    "llama3",
    {
        "<|begin_of_text|>": 128000,
        "<|end_of_text|>": 128001,
        "<|start_header_id|>": 128006,
        "<|end_header_id|>": 128007,
        "<|eot_id|>": 128009,
    },
    bos="<|begin_of_text|>",
    eos="<|end_of_text|>",
)
_QWEN_1 = _Published(
    "qwen2",
    {
        **{"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645},
        **{f"<|extra_{number}|>": 151646 + number for number in range(205)},
    },
    eos="<|endoftext|>",
)
_END = "<|endoftext|>"
_FILL = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
# The SHA-256 of published files: Llama 3's tokenizer.model, and OpenAI's encodings.
_BY_DIGEST = {
    "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55": _LLAMA_3,
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": _Published(
        "r50k_base", {_END: 50256}, eos=_END
    ),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": _Published(
        "p50k_base", {_END: 50256}, eos=_END
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": _Published(
        "cl100k_base", {_END: 100257, **_FILL, "<|endofprompt|>": 100276}, eos=_END
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": _Published(
        "o200k_base", {_END: 199999, "<|endofprompt|>": 200018}, eos=_END
    ),
}
# Tokenizer classes, as tokenizer_config.json names them, of models that ship a rank file.
_BY_CLASS = {
    "Arcade100kTokenizer": _Published("stablelm2", {}),
    "ChatGLM4Tokenizer": _Published("glm4", {}),
    "HYTokenizer": _Published("hunyuan", {}),
    "QWenTokenizer": _QWEN_1,
    "TikTokenTokenizer": _Published("kimi-k2", {}),
}


def looks_like_tiktoken(data: bytes) -> bool:
    """Whether a file begins as a rank file does."""
    return _LINE.fullmatch(data[:4096].split(b"\n", 1)[0].rstrip(b"\r")) is not None


def load_tiktoken(
    path: Path,
    settings: Settings,
    *,
    pre: str | None = None,
    files: tuple[Path, ...] = (),
) -> JsonTokenizer:
    """Reads a rank file.

    Args:
        path: the file.
        settings: special tokens, and the tokenizer's class, from the files beside it.
        pre: the name of the pre-tokenizer; it wins over what the files say.
        files: the files beside it, to be copied with the tokenizer.

    Raises:
        TokenizerError: lines that are no ranks, a rank twice or missing, a byte that no token
            spells, or no way to tell how text is cut; names the line.
    """
    data = read_bytes(path)
    if len(data) > _MOST_BYTES:
        raise TokenizerError(f"a rank file of {len(data):,} bytes cannot be one", where=str(path))
    known = _BY_DIGEST.get(hashlib.sha256(data).hexdigest()) or _BY_CLASS.get(settings.kind or "")
    rule = _rule(pre, known, path)
    ranks = _read(data, path)
    settings = _settled(settings, known, rule)
    special = {token.content: token.id for token in settings.added if token.id is not None}
    _check_ranks(ranks, set(special.values()), path)
    vocabulary = {byte_level.spell(token): rank for token, rank in ranks.items()}
    merges = all_splits(vocabulary, vocabulary)
    _join(vocabulary, special, path)
    # tiktoken takes a piece that is a token as it is.
    rule = replace(rule, whole=True)
    return byte_level_bpe(vocabulary, merges, rule, settings, Origin(path.name, str(path), files))


def _rule(pre: str | None, known: _Published | None, path: Path) -> PreTokenizer:
    name = pre or (known.pre if known else None)
    if name is None:
        raise TokenizerError(
            f"{path.name} holds ranks, and nothing says how its tokenizer cuts text",
            where=str(path),
            remedy=choices(),
        )
    rule = pretokenizer(name, str(path))
    if rule.spelling != "byte level":
        raise TokenizerError(
            f"the pre-tokenizer {rule.name} is not one for ranks of bytes",
            where=str(path),
            remedy=choices(),
        )
    return rule


def _settled(settings: Settings, known: _Published | None, rule: PreTokenizer) -> Settings:
    """The settings with what is known of a published file, where the files name no tokens."""
    if known and not any(token.id is not None for token in settings.added):
        added = tuple(AddedToken(content, t) for content, t in known.special.items())
        roles = {"bos_token": known.bos, "eos_token": known.eos}
        settings = replace(
            settings,
            added=(*added, *(t for t in settings.added if t.content not in known.special)),
            roles={**{role: t for role, t in roles.items() if t}, **settings.roles},
        )
    begins = rule.bos != "no" if settings.add_bos is None else settings.add_bos
    return replace(settings, add_bos=begins)


def _read(data: bytes, path: Path) -> dict[bytes, int]:
    """Ranks by token, in the order of the ranks."""
    ranks: dict[bytes, int] = {}
    seen: dict[int, int] = {}
    for number, token, rank in _lines(data, path):
        where = f"{path}, line {number}"
        if token in ranks:
            raise TokenizerError(f"the token {short(repr(token))} comes twice", where=where)
        if rank in seen:
            raise TokenizerError(
                f"rank {rank} comes twice, first on line {seen[rank]}", where=where
            )
        ranks[token] = rank
        seen[rank] = number
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _lines(data: bytes, path: Path) -> Iterator[tuple[int, bytes, int]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.rstrip(b"\r")
        if not line:
            continue
        found = _LINE.fullmatch(line[: 2 * _LONGEST_TOKEN])
        token = _decoded(found[1]) if found else None
        if found is None or not token:
            shown = short(repr(line[:40].decode("ascii", "replace")))
            raise TokenizerError(
                f"the line {shown} is not a token in base64 and a rank",
                where=f"{path}, line {number}",
            )
        rank = int(found[2])
        if len(token) > _LONGEST_TOKEN or rank >= _MOST_RANK:
            raise TokenizerError(
                f"a token of {len(token):,} bytes with rank {rank:,} cannot be one",
                where=f"{path}, line {number}",
            )
        yield number, token, rank


def _decoded(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _check_ranks(ranks: Mapping[bytes, int], special: set[int], path: Path) -> None:
    for byte in range(256):
        if bytes([byte]) not in ranks:
            raise TokenizerError(f"no token is the single byte 0x{byte:02X}", where=str(path))
    have = special.union(ranks.values())
    missing = next((rank for rank in range(max(ranks.values())) if rank not in have), None)
    if missing is not None:
        raise TokenizerError(
            f"rank {missing} is missing, so tokens are lost",
            where=str(path),
            remedy="fetch the file again; a special token in its place must be named beside it",
        )


def _join(vocabulary: dict[str, int], special: Mapping[str, int], path: Path) -> None:
    """Puts the special tokens in; none may be an ordinary one, or have its id."""
    taken = {token: piece for piece, token in vocabulary.items()}
    for content, token in special.items():
        if vocabulary.setdefault(content, token) != token or taken.get(token, content) != content:
            raise TokenizerError(
                f"the special token {short(repr(content))} has id {token} in the files beside "
                f"{path.name}, where the ranks have {short(repr(taken.get(token, content)))}",
                where=str(path),
            )
