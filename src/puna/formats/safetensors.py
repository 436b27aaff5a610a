"""The safetensors header: a length, a JSON object, then the bytes of all tensors end to end.

Format: 8 bytes little-endian length, that many bytes of JSON `{name: {dtype, shape,
data_offsets}}`, then the data without holes (huggingface/safetensors, format description).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.errors import FormatError, SourceError
from puna.formats.archives import archive_kind

_HEADER_BYTES = 100 << 20
_SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorRef:
    """Where one tensor lies: file, dtype as the format spells it, shape, and bytes [start, end)."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    span: tuple[int, int]


def read_header(path: Path) -> dict[str, TensorRef]:
    """Return where each tensor of a safetensors file lies, every claim checked.

    Raises:
        SourceError: no such file.
        FormatError: a header that is cut, lies about sizes, or is not one.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise _broken(path, f"it has {size} bytes, too few for a header")
            length: int = struct.unpack("<Q", start)[0]
            if length > min(size - 8, _HEADER_BYTES):
                raise _broken(path, _too_long(start, length, size))
            raw = file.read(length)
    except OSError as error:
        raise SourceError(f"cannot read the weights: {error.strerror}", where=str(path)) from error
    header = _parse(raw, path)
    base = 8 + length
    refs = {
        name: _ref(path, name, entry, base, size)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    _check_tiling(refs, path, base, size)
    return refs


def write_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """Return the first bytes of a file that holds tensors (dtype, shape) in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * _SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 64 + 56)  # so that the data begins on a cache line
    return struct.pack("<Q", len(raw)) + raw


def _too_long(start: bytes, length: int, size: int) -> str:
    kind = archive_kind(start)
    if kind:
        return f"it is a {kind} archive"
    return f"it says its header has {length} bytes, the file has {size}"


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its header cannot be read ({error})") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is not a JSON object")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name stands twice")
    return entries


def _ref(path: Path, name: str, entry: Any, base: int, size: int) -> TensorRef:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, "needs dtype, shape and data_offsets", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _SIZES:
        raise _broken(path, f"has the unknown dtype {dtype!r:.40}", name)
    if not (_whole(shape) and _whole(offsets) and len(offsets) == 2 and len(shape) <= 8):
        raise _broken(path, "has a shape or offsets that are no whole numbers", name)
    start, end = offsets
    if not start <= end <= size - base:
        raise _broken(path, f"lies at {start}–{end}, beyond the file's end (is it cut?)", name)
    if math.prod(shape) * _SIZES[dtype] != end - start:
        raise _broken(path, f"of shape {shape} does not fill its {end - start} bytes", name)
    return TensorRef(path, dtype, tuple(shape), (base + start, base + end))


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 60 for v in values)


def _check_tiling(refs: Mapping[str, TensorRef], path: Path, base: int, size: int) -> None:
    at = base
    for name, ref in sorted(refs.items(), key=lambda item: item[1].span):
        if ref.span[0] != at:
            raise _broken(path, "overlaps another tensor or leaves a hole before it", name)
        at = ref.span[1]
    if at != size:
        raise _broken(path, f"{size - at} bytes at its end belong to no tensor")


def _broken(path: Path, reason: str, tensor: str | None = None) -> FormatError:
    what = f"{path.name} is not a sound safetensors file: "
    what += reason if tensor is None else f"tensor {tensor!r:.120} {reason}"
    return FormatError(what, where=str(path), remedy="download or save the file again")
