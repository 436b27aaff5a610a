"""The header of safetensors."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

from puna.formats import read_header, write_header
from tests.fuzz.mutators import TreeMutator, mutate_header
from tests.fuzz.target import Target, slot

_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}


def safetensors_seeds() -> tuple[bytes, ...]:
    """Return files with one tensor, several of many dtypes, none, and one without numbers."""
    shapes = {
        "model.embed_tokens.weight": ("F32", (3, 2)),
        "model.norm.weight": ("BF16", (4,)),
        "scalar": ("I64", ()),
        "empty": ("F16", (0, 7)),
    }
    one = {"a": ("U8", (5,))}
    files = [_file(table) for table in (shapes, one, {})]
    noted = json.dumps({"__metadata__": {"format": "pt"}, "x": {
        "dtype": "F8_E4M3", "shape": [1, 2, 1], "data_offsets": [0, 2]}}).encode()  # fmt: skip
    return (*files, struct.pack("<Q", len(noted)) + noted + b"\0\0")


def _file(table: dict[str, tuple[str, tuple[int, ...]]]) -> bytes:
    size = sum(prod(shape) * _BYTES.get(kind, 1) for kind, shape in table.values())
    return write_header(table) + bytes(size)


def headers(seeds: tuple[bytes, ...]) -> TreeMutator:
    """Return changes of the headers of these files."""
    return TreeMutator(seed[8 : 8 + struct.unpack("<Q", seed[:8])[0]] for seed in seeds)


def safetensors(folder: Path) -> Target:
    """Headers: what is accepted must lie within the file, end to end."""
    path = folder / "model.safetensors"
    put = slot(path)
    seeds = safetensors_seeds()

    def one(data: bytes) -> None:
        put(data)
        spans = sorted(ref.span for ref in read_header(path).values())
        assert all(8 <= start <= end <= len(data) for start, end in spans)
        assert sum(end - start for start, end in spans) == len(data) - (
            spans[0][0] if spans else len(data)
        )

    return Target(seeds, one, mutate_header(headers(seeds)))
