"""`tokenizer.json`, read by the `tokenizers` library."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import tokenizers

from puna.errors import TokenizerError
from puna.text import byte_level
from puna.text.files import read_text
from puna.text.growth import check_growth, described
from puna.text.ids import MOST_IDS, check_text, short, unknown_id
from puna.text.screen import check_source
from puna.text.settings import CONFIG, AddedToken, Settings
from puna.text.stream import ByteDetokenizer, Detokenizer, WindowDetokenizer

_T = TypeVar("_T")
_TEXT = "the text cannot be encoded"
_IDS = "the ids cannot be decoded"


@dataclass(frozen=True, slots=True)
class _Roles:
    bos: int | None
    eos: int | None
    unk: int | None
    pad: int | None


@dataclass(frozen=True, slots=True)
class _Decoding:
    """How ids become bytes: `kind` is how a learned piece spells them."""

    kind: str  # "byte level", "byte fallback" or "library"
    strip: int


@dataclass(frozen=True, slots=True)
class JsonTokenizer:
    """A tokenizer.json; `puna.text.Tokenizer` says what the members do.

    The post-processor is kept apart: it adds BOS, and it trims the offsets of spaces, which
    the loss mask needs whole.
    """

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    special_ids: frozenset[int]
    files: tuple[Path, ...]
    _library: Any
    _plain: Callable[[str], Any]  # encodes with special tokens as ordinary text
    _processor: Any
    _decoding: _Decoding
    _added: dict[int, str]
    _unk: int | None
    _config: Mapping[str, Any] | None = None  # of one that was rebuilt: no tokenizer.json holds it
    _bytes: dict[int, bytes] = field(default_factory=dict)

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """See `puna.text.Tokenizer`."""
        check_text(text)
        encoding = self._encoding(text) if parse_special else self._ordinary(text)
        ids: list[int] = self._finished(encoding, add_special).ids
        return ids

    def encode_spans(
        self, text: str, *, add_special: bool = False
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """See `puna.text.Tokenizer`."""
        check_text(text)
        encoding = self._encoding(text)
        spans: list[tuple[int, int]] = list(encoding.offsets)
        count = len(encoding.ids)
        finished = self._finished(encoding, add_special)
        if len(finished.ids) == count:
            return list(finished.ids), spans
        # What the post-processor put in is marked; the rest is the text's, in order.
        own = iter(spans)
        seen = 0
        result: list[tuple[int, int]] = []
        if finished.special_tokens_mask.count(0) != count:
            raise TokenizerError("the tokenizer adds text of its own, so its ids have no place")
        for inserted in finished.special_tokens_mask:
            if inserted:
                result.append((0, 0) if not seen else (len(text), len(text)))
            else:
                seen += 1
                result.append(next(own))
        return list(finished.ids), result

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """See `puna.text.Tokenizer`."""
        if self._decoding.kind == "library":
            return self._library_decode(ids, skip_special=skip_special)
        return self._byte_detokenizer(skip_special).text(ids)

    def detokenizer(self, *, skip_special: bool) -> Detokenizer:
        """See `puna.text.Tokenizer`."""
        if self._decoding.kind == "library":
            return WindowDetokenizer(partial(self._library_decode, skip_special=skip_special))
        return self._byte_detokenizer(skip_special)

    def piece(self, token: int) -> str:
        """See `puna.text.Tokenizer`."""
        piece: str | None = self._library.id_to_token(int(token)) if 0 <= token < 2**31 else None
        if piece is None:
            raise unknown_id(token, self.vocab_size)
        return piece

    def id_of(self, piece: str) -> int | None:
        """See `puna.text.Tokenizer`."""
        token: int | None = self._library.token_to_id(piece)
        return token

    def bytes_of(self, token: int) -> bytes:
        """See `puna.text.Tokenizer`."""
        if token in self.special_ids or self._decoding.kind != "library":
            return self._all_bytes(token)
        # Twice: a decoder may trim what stands first, and what one adds to the other is its text.
        once, twice = (self._library_decode([token] * n, skip_special=False) for n in (1, 2))
        return twice[len(once) :].encode()

    def made(self) -> dict[str, str]:
        """See `puna.text.Tokenizer`."""
        if self._config is None:
            return {}
        whole = tokenizers.Tokenizer.from_str(self._library.to_str())
        if self._processor is not None:
            whole.post_processor = self._processor
        roles = {"bos": self.bos_id, "eos": self.eos_id, "unk": self._unk, "pad": self.pad_id}
        config = {
            **{key: value for key, value in self._config.items() if key != "auto_map"},
            # Other classes of transformers put their own steps in place of the file's.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{f"{role}_token": self.piece(t) for role, t in roles.items() if t is not None},
        }
        return {"tokenizer.json": whole.to_str(), CONFIG: json.dumps(config, indent=2) + "\n"}

    def _encoding(self, text: str) -> Any:
        return guard(partial(self._library.encode, text, add_special_tokens=False), _TEXT)

    def _ordinary(self, text: str) -> Any:
        encoding = guard(partial(self._plain, text), _TEXT)
        stray = self.special_ids.intersection(encoding.ids) - {self._unk}
        if stray:
            raise TokenizerError(
                f"the tokenizer cannot take {self.piece(min(stray))!r:.120} as ordinary text",
                remedy="remove it from the text, or allow special tokens in it",
            )
        return encoding

    def _finished(self, encoding: Any, add_special: bool) -> Any:
        if self._processor is None or not add_special:
            return encoding
        return guard(partial(self._processor.process, encoding, None, True), _TEXT)

    def _library_decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        for token in ids:
            self.piece(token)
        kept = [int(token) for token in ids if not (skip_special and token in self.special_ids)]
        text: str = guard(partial(self._library.decode, kept, skip_special_tokens=False), _IDS)
        return text

    def _byte_detokenizer(self, skip_special: bool) -> ByteDetokenizer:
        bytes_of = self._text_bytes if skip_special else self._all_bytes
        return ByteDetokenizer(bytes_of, self._decoding.strip)

    def _text_bytes(self, token: int) -> bytes:
        return b"" if token in self.special_ids else self._all_bytes(token)

    def _all_bytes(self, token: int) -> bytes:
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._spelled(int(token))
        return known

    def _spelled(self, token: int) -> bytes:
        piece = self.piece(token)
        if token in self._added:
            if self._decoding.kind == "byte fallback":
                piece = piece.replace("▁", " ")
            return piece.encode()
        if self._decoding.kind == "byte level":
            return byte_level.read(piece)
        return _byte_fallback(piece)


def load_json(path: Path, settings: Settings, files: tuple[Path, ...]) -> JsonTokenizer:
    """Reads a tokenizer.json with what the files beside it say.

    Raises:
        TokenizerError: not a tokenizer.json, or it contradicts the files beside it.
    """
    source = read_text(path)
    check_source(source, path.name, str(path))
    failure = f"{path.name} is not a tokenizer.json"
    library = guard(partial(tokenizers.Tokenizer.from_str, source), failure, str(path))
    # Cutting and filling are the caller's business; a published setting must not cut in silence.
    library.no_truncation()
    library.no_padding()
    if getattr(library.model, "dropout", None):
        library.model.dropout = None  # merges left out at random are for training it
    return from_library(library, settings, files, name=path.name, where=str(path))


def from_library(
    library: Any,
    settings: Settings,
    files: tuple[Path, ...],
    *,
    name: str,
    where: str,
    config: Mapping[str, Any] | None = None,
) -> JsonTokenizer:
    """A tokenizer of the `tokenizers` library, with what other files say of its special tokens.

    Args:
        library: the library's tokenizer; it is the result's own from here on.
        settings: special and added tokens and their roles.
        files: the files that make it up, to be copied with it.
        name: what holds it, for errors.
        where: the path of that.
        config: the tokenizer_config.json beside it, where no tokenizer.json holds the tokenizer
            and both must be written anew where it is saved.

    Raises:
        TokenizerError: the two contradict each other, or there is no vocabulary.
    """
    check_growth(library, name, where)
    _check_ids(library, name, where)
    _add_tokens(library, settings, name, where)
    processor = library.post_processor
    library.post_processor = None
    added = library.get_added_tokens_decoder()
    special = {token for token, entry in added.items() if entry.special}
    roles = _roles(library, settings)
    special.update(t for t in (roles.bos, roles.eos, roles.unk, roles.pad) if t is not None)
    vocabulary = library.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise TokenizerError(f"{name} has no vocabulary", where=where)
    if (most := max(vocabulary.values())) >= MOST_IDS:
        # The library walks all ids up to the largest one, whether they are there or not.
        raise TokenizerError(
            f"{name} has a token with the id {most:,}; ids are below {MOST_IDS:,}", where=where
        )
    return JsonTokenizer(
        vocab_size=most + 1,
        bos_id=roles.bos,
        eos_id=roles.eos,
        pad_id=roles.pad,
        special_ids=frozenset(special),
        files=files,
        _library=library,
        _plain=_Ordinary(library),
        _processor=processor,
        _decoding=_decoding(described(library.decoder)),
        _added={token: entry.content for token, entry in added.items()},
        _unk=roles.unk,
        _config=config,
    )


def _check_ids(library: Any, name: str, where: str) -> None:
    """Refuse ids that belong to two pieces: written again, one would take the other's place."""
    owners: dict[int, str] = {}
    for piece, token in library.get_vocab(with_added_tokens=False).items():
        if (owner := owners.setdefault(token, piece)) != piece:
            one, two = sorted((owner, piece))
            raise TokenizerError(
                f"the id {token} in {name} belongs to {short(repr(one))} and {short(repr(two))}",
                where=where,
            )


class _Ordinary:
    """The same tokenizer with special tokens switched off; built when it is first asked."""

    def __init__(self, library: Any) -> None:
        self._source = library
        self._copy: Any = None

    def __call__(self, text: str) -> Any:
        if self._copy is None:
            copy = tokenizers.Tokenizer.from_str(self._source.to_str())
            copy.encode_special_tokens = True
            self._copy = copy
        return self._copy.encode(text, add_special_tokens=False)


def guard(call: Callable[[], _T], failure: str, where: str | None = None) -> _T:
    """Calls the native library; its errors, panics too, become a `TokenizerError`."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as exc:
        # A panic of the native code is no Exception, hence the wide net.
        raise TokenizerError(f"{failure}: {short(exc)}", where=where) from None


def _add_tokens(library: Any, settings: Settings, name: str, where: str) -> None:
    """Makes the tokens that the settings name known; no id is invented."""
    wanted = {token.content: token for token in settings.added}
    for content in filter(None, settings.roles.values()):
        token = wanted.get(content, AddedToken(content))
        wanted[content] = replace(token, special=True)
    added = library.get_added_tokens_decoder()
    entries: list[Any] = []
    expected: list[tuple[str, int]] = []
    for token in sorted(wanted.values(), key=lambda t: (t.id is None, t.id or 0)):
        have: int | None = library.token_to_id(token.content)
        number = have if token.id is None else token.id
        if number is None:
            continue
        if have not in (None, number):
            raise _two_ids(token.content, have, number, name, where)
        known = added.get(number) if have is not None else None
        if known is None or (token.special and not known.special):
            entries.append(_entry(token, known))
        expected.append((token.content, number))
    # In runs: added one by one, they would take quadratic time.
    for special, run in groupby(entries, key=lambda entry: entry.special):
        (library.add_special_tokens if special else library.add_tokens)(list(run))
    for content, number in expected:
        if (have := library.token_to_id(content)) != number:
            raise _two_ids(content, have, number, name, where)


def _entry(token: AddedToken, known: Any) -> Any:
    """The library's own record; what it knows of the token already stays."""
    return tokenizers.AddedToken(
        token.content,
        single_word=known.single_word if known else token.whole,
        lstrip=known.lstrip if known else token.lstrip,
        rstrip=known.rstrip if known else token.rstrip,
        normalized=known.normalized if known else not token.special,
        special=token.special,
    )


def _two_ids(content: str, have: int | None, number: int, name: str, where: str) -> TokenizerError:
    return TokenizerError(
        f"the token {content!r:.120} has id {have} in {name} "
        f"and id {number} in the files beside it",
        where=where,
    )


def _roles(library: Any, settings: Settings) -> _Roles:
    def find(role: str) -> int | None:
        content = settings.roles.get(role)
        token: int | None = library.token_to_id(content) if content else None
        return token

    return _Roles(find("bos_token"), find("eos_token"), find("unk_token"), find("pad_token"))


def _decoding(decoder: dict[str, Any]) -> _Decoding:
    """Recognizes the decoders that map every id to fixed bytes; others are left to the library."""
    steps = decoder["decoders"] if decoder.get("type") == "Sequence" else [decoder]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return _Decoding("byte level", 0)
    spaces = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    if kinds[:3] == ["Replace", "ByteFallback", "Fuse"] and steps[0] == spaces:
        strips = [(s.get("content"), s.get("start"), s.get("stop")) for s in steps[3:]]
        if strips in ([], [(" ", 0, 0)]):
            return _Decoding("byte fallback", 0)
        if strips == [(" ", 1, 0)]:
            return _Decoding("byte fallback", 1)
    return _Decoding("library", 0)


def _byte_fallback(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        try:
            return bytes([int(piece[3:5], 16)])
        except ValueError:
            pass
    return piece.replace("▁", " ").encode()
