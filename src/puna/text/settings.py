"""What the files beside a tokenizer say about its special and added tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.errors import TokenizerError
from puna.text.files import read_object_if_any
from puna.text.ids import check_text, short

CONFIG = "tokenizer_config.json"
SPECIAL_MAP = "special_tokens_map.json"
ADDED = "added_tokens.json"
SETTINGS = (CONFIG, SPECIAL_MAP, ADDED)
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_EXTRA = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token outside the learned vocabulary: matched in the text before anything else.

    `id` is None where the files name the token without saying its id. `lstrip` and `rstrip`:
    the match takes the white space on that side with it. `whole`: only between non-word
    characters.
    """

    content: str
    id: int | None = None
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Special and added tokens as published; `roles` has a key only where a file names one.

    `kind`: the tokenizer's class, which says how a vocabulary is used that cannot say it itself.
    """

    roles: Mapping[str, str | None]
    added: tuple[AddedToken, ...]
    add_bos: bool | None
    add_eos: bool | None
    prefix_space: bool | None
    legacy: bool
    kind: str | None = None


NO_SETTINGS = Settings({}, (), None, None, None, False)


def read_settings(folder: Path) -> Settings:
    """Reads tokenizer_config.json, special_tokens_map.json and added_tokens.json of a folder.

    Absent files count as empty; where two name the same role, tokenizer_config.json wins.

    Raises:
        TokenizerError: a file that is not JSON, or a value of the wrong type.
    """
    config = read_object_if_any(folder / CONFIG)
    special = read_object_if_any(folder / SPECIAL_MAP)
    added = read_object_if_any(folder / ADDED)
    where = str(folder / CONFIG)
    roles: dict[str, str | None] = {}
    for source, name in ((special, SPECIAL_MAP), (config, CONFIG)):
        for role in ROLES:
            if role in source:
                roles[role] = _content(source[role], f"{folder / name}, {role}")
    tokens = [
        *_numbered(added, folder / ADDED),
        *_decoder(config, where),
        *_extra(special, folder / SPECIAL_MAP),
        *_extra(config, folder / CONFIG),
    ]
    return Settings(
        roles=roles,
        added=tuple(_merged(tokens, where)),
        add_bos=_flag(config, "add_bos_token", where),
        add_eos=_flag(config, "add_eos_token", where),
        prefix_space=_flag(config, "add_prefix_space", where),
        legacy=_flag(config, "legacy", where) is True,
        kind=_name(config.get("tokenizer_class")),
    )


def _content(value: Any, where: str) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("content")
    if isinstance(value, str):
        check_text(value, where)
    if value is None or isinstance(value, str):
        return value or None
    raise TokenizerError(f"a token must be text, not {type(value).__name__}", where=where)


def _name(value: Any) -> str | None:
    # Only one that is known is used, so one that is no text counts as none.
    return value if isinstance(value, str) else None


def _flag(config: Mapping[str, Any], key: str, where: str) -> bool | None:
    value = config.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise TokenizerError(f"{key} must be true or false, not {short(repr(value))}", where=where)


def _numbered(added: Mapping[str, Any], path: Path) -> Iterator[AddedToken]:
    for content, number in added.items():
        check_text(content, str(path))
        yield AddedToken(content, _id(number, f"{path}, {content!r:.120}"), special=False)


def _id(number: Any, where: str) -> int:
    if isinstance(number, str) and number.isdecimal() and len(number) < 10:
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
        raise TokenizerError(f"{short(repr(number))} is not a token id", where=where)
    return number


def _decoder(config: Mapping[str, Any], where: str) -> Iterator[AddedToken]:
    table = config.get("added_tokens_decoder") or {}
    if not isinstance(table, Mapping):
        raise TokenizerError("added_tokens_decoder must be an object", where=where)
    for number, entry in table.items():
        place = f"{where}, added_tokens_decoder[{number!r:.40}]"
        if not isinstance(entry, Mapping):
            raise TokenizerError("an added token must be an object", where=place)
        content = _content(entry, place)
        if content is None:
            raise TokenizerError("an added token has no content", where=place)
        yield AddedToken(
            content,
            _id(number, place),
            special=_flag(entry, "special", place) is True,
            lstrip=_flag(entry, "lstrip", place) is True,
            rstrip=_flag(entry, "rstrip", place) is True,
            whole=_flag(entry, "single_word", place) is True,
        )


def _extra(source: Mapping[str, Any], path: Path) -> Iterator[AddedToken]:
    for key in _EXTRA:
        value = source.get(key) or []
        if isinstance(value, Mapping):
            value = list(value.values())
        if not isinstance(value, list):
            raise TokenizerError(f"{key} must be a list of tokens", where=str(path))
        for entry in value:
            content = _content(entry, f"{path}, {key}")
            if content is not None:
                yield AddedToken(content)


def _merged(tokens: list[AddedToken], where: str) -> Iterator[AddedToken]:
    """One entry a token: an id from any file, special if any file says so."""
    table: dict[str, AddedToken] = {}
    for token in tokens:
        old = table.get(token.content)
        if old is None:
            table[token.content] = token
            continue
        if old.id is not None and token.id is not None and old.id != token.id:
            raise TokenizerError(
                f"the token {short(repr(token.content))} has two ids: {old.id} and {token.id}",
                where=where,
            )
        table[token.content] = AddedToken(
            token.content,
            token.id if token.id is not None else old.id,
            special=old.special or token.special,
            lstrip=old.lstrip or token.lstrip,
            rstrip=old.rstrip or token.rstrip,
            whole=old.whole or token.whole,
        )
    yield from table.values()
