"""GGUF, versions 2 and 3: metadata and tensor spans, every claim held against the file's size.

Format: magic, version, counts of tensors and keys; the keys with typed values; per tensor a name,
sizes (fastest axis first), type and offset; padding; the data (ggml, docs/gguf.md).
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from puna.errors import FormatError, PunaError, SourceError
from puna.formats.archives import UNPACK, archive_kind
from puna.formats.ggml import GGML_BY_ID, RETIRED
from puna.formats.safetensors import TensorRef

MAGIC: Final = b"GGUF"
ALIGNMENT: Final = 32
_OLD = {b"lmgg": "GGML", b"ggml": "GGML", b"tjgg": "GGJT", b"ggjt": "GGJT", b"fmgg": "GGMF"}
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
# The largest published vocabularies take about 30 MiB; values grow at most eightfold when read.
_HEADER_BYTES = 128 << 20
_NAME_BYTES = 255
_KEY_BYTES = 65_535
_AXES = 4
_FEW = 1 << 16
_LEAST_KEY, _LEAST_TENSOR = 14, 33  # bytes that the shortest entry of each kind takes
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9


@dataclass(frozen=True, slots=True)
class Gguf:
    """What a GGUF file, or all files of a split one, holds.

    `metadata` has plain values: numbers, booleans, text, and lists of these. The `dtype` of a
    tensor is the ggml type's name, such as `Q4_K`; its shape is in row-major order.
    """

    files: tuple[Path, ...]
    version: int
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorRef]

    @property
    def architecture(self) -> str:
        """What `general.architecture` says.

        Raises:
            FormatError: it says nothing.
        """
        value = self.metadata.get("general.architecture")
        if not isinstance(value, str) or not value:
            raise FormatError(
                "general.architecture is missing", where=str(self.files[0]), remedy=_REMEDY
            )
        return value


_REMEDY = "download or convert the file again"


def is_gguf(path: Path) -> bool:
    """Tell whether a file begins like a GGUF file; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def read_gguf(path: Path) -> Gguf:
    """Return the metadata of a GGUF file and where its tensors lie; no tensor is read.

    Any file of a split model opens the whole of it; the other files must lie beside it under the
    names they were made with (`-00001-of-00003.gguf`).

    Raises:
        SourceError: the file, or another file of the split, is not there.
        FormatError: a file that is cut, lies about sizes, or is not GGUF; with the byte.
    """
    found = read_gguf_part(path)
    count = found.metadata.get("split.count", 1)
    if type(count) is not int or not 0 <= count < 100_000:
        raise _broken(path, "split.count is not a number of files")
    return found if count <= 1 else _join(path, _siblings(path, count))


def _siblings(path: Path, count: int) -> list[Path]:
    match = _SPLIT.fullmatch(path.name)
    if match is None or int(match[3]) != count:
        raise FormatError(
            f"{path.name} is one of {count} files of a split model, and its name does not say so",
            where=str(path),
            remedy=f"name the files NAME-00001-of-{count:05d}.gguf and so on, as they were made",
        )
    return [path.with_name(f"{match[1]}-{n:05d}-of-{count:05d}.gguf") for n in range(1, count + 1)]


def _join(path: Path, files: list[Path]) -> Gguf:
    parts: list[Gguf] = []
    tensors: dict[str, TensorRef] = {}
    for number, file in enumerate(files):
        if not file.is_file():
            raise SourceError(
                f"the file {file.name} of the split model is missing",
                where=str(file.parent),
                remedy="download all files of the model into one folder",
            )
        part = read_gguf_part(file)
        same = part.metadata.get("split.count"), part.metadata.get("split.no")
        if same != (len(files), number):
            raise _broken(file, f"it says it is file {same[1]} of {same[0]}, counted from 0")
        if twice := part.tensors.keys() & tensors.keys():
            raise _broken(file, f"tensor {min(twice)!r:.120} stands in two files")
        tensors.update(part.tensors)
        parts.append(part)
    stated = parts[0].metadata.get("split.tensors.count", len(tensors))
    if stated != len(tensors):
        raise _broken(path, f"its files hold {len(tensors)} tensors, not {stated}")
    return Gguf(tuple(files), parts[0].version, parts[0].metadata, tensors)


def read_gguf_part(path: Path) -> Gguf:
    """Return what one file holds, be it the whole model or one of a split.

    Raises:
        SourceError: the file is not there.
        FormatError: as `read_gguf`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) < 8 or start[:4] != MAGIC:
                raise _no_gguf(path, start)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(_Cursor(path, data))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"cannot read {path.name}: {reason}", where=str(path)) from error


def _no_gguf(path: Path, start: bytes) -> PunaError:
    if start[:4] in _OLD:
        return FormatError(
            f"{path.name} is in the format {_OLD[start[:4]]}, which GGUF replaced in 2023",
            where=str(path),
            remedy="convert the model again with a newer converter",
        )
    if kind := archive_kind(start):
        return FormatError(f"{path.name} is a {kind} archive", where=str(path), remedy=UNPACK)
    return _broken(path, "it does not begin with GGUF", 0)


class _Cursor:
    """A place in the header that moves forward and never past the end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.size = len(data)
        self.at = 0
        self._data = data
        self._end = min(self.size, _HEADER_BYTES)

    def broken(self, reason: str) -> FormatError:
        return _broken(self.path, reason, self.at)

    def room(self, count: int, least: int, what: str) -> int:
        """Return `count` if that many things of at least `least` bytes can still follow."""
        if count * least > self._end - self.at:
            rest = self._end - self.at
            over = "the file" if self._end == self.size else f"a header of {_HEADER_BYTES} bytes"
            raise self.broken(f"{count} {what} do not fit the {rest} bytes left of {over}")
        return count

    def numbers(self, code: str, count: int, what: str) -> tuple[Any, ...]:
        size = struct.calcsize(f"<{code}")
        self.room(count, size, what)
        values = struct.unpack_from(f"<{count}{code}", self._data, self.at)
        self.at += count * size
        return values

    def number(self, code: str, what: str) -> Any:
        return self.numbers(code, 1, what)[0]

    def text(self, what: str, most: int = _HEADER_BYTES) -> str:
        length = self.number("Q", what)
        if length > most:
            raise self.broken(f"{what} of {length} bytes is too long")
        self.room(length, 1, f"bytes of {what}")
        self.at += length
        return self._decoded(self._data[self.at - length : self.at], what)

    def texts(self, count: int, what: str) -> list[str]:
        """Read strings in one tight loop: a vocabulary has hundreds of thousands."""
        self.room(count, 8, what)
        data, at, end, length_at = self._data, self.at, self._end, struct.Struct("<Q").unpack_from
        raw = []
        for _ in range(count):
            begin = at + 8
            if begin > end or (stop := begin + length_at(data, at)[0]) > end:
                self.at = at
                raise self.broken(f"a string of {what} runs past the end")
            raw.append(data[begin:stop])
            at = stop
        self.at = at
        return [self._decoded(value, what) for value in raw]

    def _decoded(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.broken(f"{what} is not UTF-8: {error.reason}") from error


def _parse(cursor: _Cursor) -> Gguf:
    cursor.at = 4
    version = cursor.number("I", "version")
    if version not in (2, 3):
        raise _wrong_version(cursor.path, version)
    tensors = cursor.room(cursor.number("Q", "tensor count"), _LEAST_TENSOR, "tensors")
    keys = cursor.room(cursor.number("Q", "key count"), _LEAST_KEY, "metadata keys")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = cursor.text("a metadata key", _KEY_BYTES)
        if key in metadata:
            raise cursor.broken(f"the key {key!r:.80} stands twice")
        metadata[key] = _value(cursor, key)
    return Gguf((cursor.path,), version, metadata, _tensors(cursor, tensors, _alignment(metadata)))


def _wrong_version(path: Path, version: int) -> FormatError:
    if version == 1:
        what, remedy = "is GGUF version 1, of August 2023", "convert the model again"
    elif version & 0xFFFF == 0:
        what = "is in big-endian byte order"
        remedy = "convert it to little-endian, as by gguf-convert-endian"
    else:
        what, remedy = f"is GGUF version {version}", "known: 2 and 3; a newer Puna may read it"
    return FormatError(
        f"{path.name} {what}, which is not supported", where=str(path), remedy=remedy
    )


def _value(cursor: _Cursor, key: str) -> Any:
    what = f"{key!r:.80}"
    kind = cursor.number("I", f"type of {what}")
    if kind != _ARRAY:
        return _items(cursor, kind, 1, what)[0]
    inner = cursor.number("I", f"type of {what}")
    count = cursor.number("Q", f"length of {what}")
    if inner == _ARRAY:
        raise cursor.broken(f"the key {what} holds arrays of arrays")
    return _items(cursor, inner, count, what)


def _items(cursor: _Cursor, kind: int, count: int, what: str) -> list[Any]:
    if kind == _STRING:
        return cursor.texts(count, what)
    if kind == _BOOL:
        values = cursor.numbers("B", count, f"values of {what}")
        if any(value > 1 for value in values):
            raise cursor.broken(f"a boolean of {what} is neither 0 nor 1")
        return [value == 1 for value in values]
    if kind not in _NUMBERS:
        raise cursor.broken(f"the key {what} has a value of the unknown type {kind}")
    return list(cursor.numbers(_NUMBERS[kind], count, f"values of {what}"))


def _alignment(metadata: Mapping[str, Any]) -> int | None:
    value = metadata.get("general.alignment", ALIGNMENT)
    sound = type(value) is int and 0 < value <= 1 << 20 and value & (value - 1) == 0
    return value if sound else None


def _tensors(cursor: _Cursor, count: int, alignment: int | None) -> dict[str, TensorRef]:
    if alignment is None:
        raise cursor.broken("general.alignment is not a power of two")
    infos: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for _ in range(count):
        name = cursor.text("a tensor's name", _NAME_BYTES)
        if name in infos or not name:
            raise cursor.broken(f"the tensor name {name!r:.120} stands twice or is empty")
        infos[name] = _info(cursor, name, alignment)
    base = -(-cursor.at // alignment) * alignment
    refs = {}
    for name, (kind, shape, offset, size) in infos.items():
        if base + offset + size > cursor.size:
            raise cursor.broken(
                f"tensor {name!r:.120} lies at {base + offset}–{base + offset + size}, beyond the "
                f"end of the file at {cursor.size} (is it cut?)"
            )
        refs[name] = TensorRef(cursor.path, kind, shape, (base + offset, base + offset + size))
    _check_apart(cursor, refs)
    return refs


def _info(cursor: _Cursor, name: str, alignment: int) -> tuple[str, tuple[int, ...], int, int]:
    what = f"tensor {name!r:.120}"
    axes = cursor.number("I", f"axes of {what}")
    if not 1 <= axes <= _AXES:
        raise cursor.broken(f"{what} has {axes} axes, not 1 to {_AXES}")
    sizes = cursor.numbers("Q", axes, f"sizes of {what}")
    number = cursor.number("I", f"type of {what}")
    offset = cursor.number("Q", f"offset of {what}")
    kind = GGML_BY_ID.get(number)
    if kind is None:
        named = f"{RETIRED[number]}, " if number in RETIRED else ""
        raise cursor.broken(f"{what} has the type {named}number {number}, which cannot be read")
    if not all(0 < size < 1 << 48 for size in sizes) or prod(sizes) >= 1 << 60:
        raise cursor.broken(f"{what} has the impossible sizes {list(sizes)}")
    if sizes[0] % kind.values:
        raise cursor.broken(f"rows of {what} are no multiple of {kind.values}, as {kind.name} asks")
    if offset % alignment:
        raise cursor.broken(f"{what} lies at offset {offset}, no multiple of {alignment}")
    return kind.name, tuple(reversed(sizes)), offset, prod(sizes) // kind.values * kind.bytes


def _check_apart(cursor: _Cursor, refs: Mapping[str, TensorRef]) -> None:
    end = 0
    for name, ref in sorted(refs.items(), key=lambda item: item[1].span):
        if ref.span[0] < end:
            raise cursor.broken(f"tensor {name!r:.120} overlaps another")
        end = ref.span[1]


def read_floats(found: Gguf, name: str) -> list[float] | None:
    """Return the values of a small float32 tensor with one axis; None where it is not there.

    Raises:
        FormatError: a tensor of another kind.
    """
    ref = found.tensors.get(name)
    if ref is None:
        return None
    if ref.dtype != "F32" or len(ref.shape) != 1 or ref.shape[0] > _FEW:
        raise _broken(ref.file, f"tensor {name!r:.120} is {ref.dtype} {list(ref.shape)}")
    try:
        with ref.file.open("rb") as file:
            file.seek(ref.span[0])
            raw = file.read(ref.span[1] - ref.span[0])
            return list(struct.unpack(f"<{ref.shape[0]}f", raw))
    except (OSError, struct.error) as error:
        raise SourceError(f"cannot read {ref.file.name}: {error}", where=str(ref.file)) from error


def find_gguf(folder: Path) -> list[Path]:
    """Return the GGUF models of a folder: files, and the first file of each split model."""
    found = []
    for path in sorted(folder.glob("*.gguf")):
        match = _SPLIT.fullmatch(path.name)
        if path.is_file() and (match is None or int(match[2]) == 1):
            found.append(path)
    return found


def count_types(found: Gguf) -> dict[str, int]:
    """Return how many values of each type a file holds, the commonest first."""
    sizes: Counter[str] = Counter()
    for ref in found.tensors.values():
        sizes[ref.dtype] += prod(ref.shape)
    return dict(sizes.most_common())


def _broken(path: Path, reason: str, at: int | None = None) -> FormatError:
    place = str(path) if at is None else f"{path}, byte {at}"
    return FormatError(
        f"{path.name} is not a sound GGUF file: {reason}", where=place, remedy=_REMEDY
    )
