"""`tokenizer.model`, read by the `sentencepiece` library (Kudo and Richardson 2018).

Special tokens are cut out of the text first, because SentencePiece itself never reads control
tokens from text. The space that it puts before a text is put once, before the first piece and
only if the text begins with it: text after a special token gets none (LlamaTokenizer's
`legacy=False`). A published `"legacy": true` puts it before every piece of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sentencepiece

from puna.errors import TokenizerError
from puna.text.files import read_bytes
from puna.text.ids import check_text, unknown_id
from puna.text.settings import AddedToken, Settings
from puna.text.stream import ByteDetokenizer, Detokenizer

_SPACE = "▁"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# A repeated protobuf message merges into the first: normalizer_spec (3) {add_dummy_prefix (3): 0}.
_NO_PREFIX = bytes((0x1A, 0x02, 0x18, 0x00))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of the text: ordinary (`token` is None) or one special token."""

    start: int
    end: int
    token: int | None


@dataclass(frozen=True, slots=True)
class SentencePieceTokenizer:
    """A SentencePiece model; `puna.text.Tokenizer` says what the members do."""

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    special_ids: frozenset[int]
    files: tuple[Path, ...]
    _model: Any  # as published
    _bare: Any  # the same without the space before the text
    _pattern: re.Pattern[str] | None
    _reachable: re.Pattern[str] | None  # special tokens that ordinary text could become
    _tokens: dict[str, AddedToken]
    _added: dict[int, str]
    _before: tuple[int, ...]
    _after: tuple[int, ...]
    _legacy: bool
    _strip: int
    _bytes: dict[int, bytes] = field(default_factory=dict)

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """See `puna.text.Tokenizer`."""
        check_text(text)
        ids: list[int] = []
        for run in self._runs(text) if parse_special else self._cut(text):
            if run.token is None:
                model = self._processor(run.start, legacy=self._legacy and parse_special)
                ids.extend(model.encode(text[run.start : run.end]))
            else:
                ids.append(run.token)
        return [*self._before, *ids, *self._after] if add_special else ids

    def encode_spans(
        self, text: str, *, add_special: bool = False
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """See `puna.text.Tokenizer`."""
        check_text(text)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for run in self._runs(text):
            if run.token is None:
                self._ordinary(text[run.start : run.end], run.start, ids, spans)
            else:
                ids.append(run.token)
                spans.append((run.start, run.end))
        if not add_special:
            return ids, spans
        end = (len(text), len(text))
        return (
            [*self._before, *ids, *self._after],
            [(0, 0)] * len(self._before) + spans + [end] * len(self._after),
        )

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """See `puna.text.Tokenizer`."""
        return self._detokenizer(skip_special).text(ids)

    def detokenizer(self, *, skip_special: bool) -> Detokenizer:
        """See `puna.text.Tokenizer`."""
        return self._detokenizer(skip_special)

    def piece(self, token: int) -> str:
        """See `puna.text.Tokenizer`."""
        added = self._added.get(token)
        if added is not None:
            return added
        if not 0 <= token < len(self._model):
            raise unknown_id(token, self.vocab_size)
        piece: str = self._model.id_to_piece(int(token))
        return piece

    def id_of(self, piece: str) -> int | None:
        """See `puna.text.Tokenizer`."""
        known = self._tokens.get(piece)
        return known.id if known else _find(self._model, piece)

    def bytes_of(self, token: int) -> bytes:
        """See `puna.text.Tokenizer`."""
        return self._all_bytes(token)

    def made(self) -> dict[str, str]:
        """See `puna.text.Tokenizer`."""
        return {}

    def _runs(self, text: str) -> Iterator[_Piece]:
        """Ordinary text and special tokens in turn; a token may take white space with it."""
        at = look = 0
        while self._pattern and (found := self._pattern.search(text, look)):
            token, start, end = self._tokens[found[0]], found.start(), found.end()
            look = end
            if token.whole and _inside_word(text, start, end):
                continue
            while token.lstrip and start > at and text[start - 1].isspace():
                start -= 1
            while token.rstrip and end < len(text) and text[end].isspace():
                end += 1
            if start > at:
                yield _Piece(at, start, None)
            yield _Piece(start, end, token.id)
            at = look = end
        if at < len(text):
            yield _Piece(at, len(text), None)

    def _cut(self, text: str) -> Iterator[_Piece]:
        """The text as ordinary runs that no special token can arise in: each is cut in two."""
        at = 0
        for found in self._reachable.finditer(text) if self._reachable else ():
            middle = found.start() + 1
            yield _Piece(at, middle, None)
            at = middle
        if at < len(text):
            yield _Piece(at, len(text), None)

    def _processor(self, start: int, *, legacy: bool) -> Any:
        return self._model if start == 0 or legacy else self._bare

    def _ordinary(
        self, text: str, shift: int, ids: list[int], spans: list[tuple[int, int]]
    ) -> None:
        model = self._processor(shift, legacy=self._legacy)
        mapping = model.encode(text, return_type="offset_mapping")
        found = [(start + shift, end + shift) for start, end in mapping["offsets"]]
        # The bytes of one character are empty spans before the last one, which has the character.
        for index in range(len(found) - 2, -1, -1):
            start, end = found[index]
            empty = start == end and start == found[index + 1][0]
            if empty and self._model.is_byte(mapping["ids"][index]):
                found[index] = found[index + 1]
        ids.extend(mapping["ids"])
        spans.extend(found)

    def _detokenizer(self, skip_special: bool) -> ByteDetokenizer:
        bytes_of = self._text_bytes if skip_special else self._all_bytes
        return ByteDetokenizer(bytes_of, self._strip)

    def _text_bytes(self, token: int) -> bytes:
        return b"" if token in self.special_ids else self._all_bytes(token)

    def _all_bytes(self, token: int) -> bytes:
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._spelled(token)
        return known

    def _spelled(self, token: int) -> bytes:
        piece = self.piece(token)
        if token in self._added:
            return piece.encode()
        if self._model.is_byte(int(token)):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(_SPACE, " ").encode()


def load_sentencepiece(
    path: Path, settings: Settings, files: tuple[Path, ...]
) -> SentencePieceTokenizer:
    """Reads a tokenizer.model with what the files beside it say.

    BOS is added unless `add_bos_token` is false, EOS only if `add_eos_token` is true.

    Raises:
        TokenizerError: not a SentencePiece model, or it contradicts the files beside it.
    """
    data = read_bytes(path)
    model = _processor(data, path)
    bare = _processor(data + _NO_PREFIX, path)
    prefix = settings.prefix_space is not False and _puts_space(model, path)
    tokens = _tokens(model, settings, path)
    ids = {content: token.id for content, token in tokens.items() if token.id is not None}
    added = {t: content for content, t in ids.items() if t >= len(model)}
    bos = _role(settings, "bos_token", model.bos_id(), ids)
    eos = _role(settings, "eos_token", model.eos_id(), ids)
    return SentencePieceTokenizer(
        vocab_size=max([len(model), *(t + 1 for t in added)]),
        bos_id=bos,
        eos_id=eos,
        pad_id=_role(settings, "pad_token", model.pad_id(), ids),
        special_ids=frozenset(ids[content] for content, t in tokens.items() if t.special),
        files=files,
        _model=model if prefix else bare,
        _bare=bare,
        _pattern=_matcher(list(tokens)),
        _reachable=_matcher(_reachable(model, tokens)),
        _tokens=tokens,
        _added=added,
        _before=(bos,) if bos is not None and settings.add_bos is not False else (),
        _after=(eos,) if eos is not None and settings.add_eos is True else (),
        _legacy=settings.legacy,
        _strip=(1 if _keeps_spaces(bare) else -1) if prefix else 0,
    )


def _processor(data: bytes, path: Path) -> Any:
    model: Any = ()
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=data) if data else ()
        good = len(model) > 0 and 0 <= model.unk_id() < len(model)
        for token in range(len(model)):
            piece = model.id_to_piece(token)  # fails where a piece is not UTF-8
            good = good and (not model.is_byte(token) or _BYTE.fullmatch(piece) is not None)
    except (RuntimeError, ValueError, TypeError, OSError):
        good = False
    if not good:
        raise TokenizerError(
            f"{path.name} is not a whole SentencePiece model ({len(data):,} bytes)",
            where=str(path),
            remedy="fetch the file again",
        )
    return model


def _puts_space(model: Any, path: Path) -> bool:
    """Whether the model puts a space before the text; one that puts it after is refused."""
    pieces = model.encode("a", out_type=str)
    if pieces and pieces[-1].endswith(_SPACE):
        raise TokenizerError(
            f"{path.name} writes spaces at the end of words, which is not supported",
            where=str(path),
        )
    return bool(pieces) and pieces[0].startswith(_SPACE)


def _keeps_spaces(bare: Any) -> bool:
    return "".join(bare.encode("a  a", out_type=str)).count(_SPACE) == 2


def _find(model: Any, piece: str) -> int | None:
    token: int = model.piece_to_id(piece)
    return token if model.id_to_piece(token) == piece else None


def _tokens(model: Any, settings: Settings, path: Path) -> dict[str, AddedToken]:
    """Every token to be cut out of the text: the model's control tokens and the added ones."""
    control = [t for t in range(len(model)) if model.is_control(t)]
    pieces = {model.id_to_piece(t): t for t in [*control, model.unk_id()]}
    table = {content: AddedToken(content, t) for content, t in pieces.items()}
    roles = [AddedToken(content) for content in settings.roles.values() if content]
    for token in [*settings.added, *roles]:
        number = _placed(model, token, table, path)
        if number is None:
            continue
        old = table.get(token.content)
        if old is not None and token.id is None:
            table[token.content] = replace(old, special=True)
        else:
            special = token.special or token.content in pieces
            table[token.content] = replace(token, id=number, special=special)
    return table


def _placed(model: Any, token: AddedToken, table: dict[str, AddedToken], path: Path) -> int | None:
    """The token's id; None where no file gives it one."""
    old = table.get(token.content)
    have = old.id if old else _find(model, token.content)
    if have is None:
        if token.id is None or token.id >= len(model):
            return token.id
    elif token.id in (None, have):
        return have
    raise TokenizerError(
        f"the token {token.content!r:.120} has {'no id' if have is None else f'id {have}'} "
        f"in {path.name} and id {token.id} in the files beside it",
        where=str(path),
    )


def _role(settings: Settings, role: str, default: int, ids: dict[str, int]) -> int | None:
    """The id of a role: the one the files name, else the model's own."""
    if role in settings.roles:
        content = settings.roles[role]
        return ids.get(content) if content else None
    return default if default >= 0 else None


def _matcher(contents: list[str]) -> re.Pattern[str] | None:
    """Matches the longest of the tokens that begin at a place."""
    longest_first = sorted(contents, key=lambda content: -len(content))
    return re.compile("|".join(map(re.escape, longest_first))) if contents else None


def _inside_word(text: str, start: int, end: int) -> bool:
    before = start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_")
    after = end < len(text) and (text[end].isalnum() or text[end] == "_")
    return before or after


def _reachable(model: Any, tokens: dict[str, AddedToken]) -> list[str]:
    """Special tokens that SentencePiece itself could make of ordinary text."""
    return [
        content
        for content, token in tokens.items()
        if token.special
        and token.id is not None
        and token.id < len(model)
        and len(content) > 1
        and not (model.is_control(token.id) or model.is_unknown(token.id))
    ]
