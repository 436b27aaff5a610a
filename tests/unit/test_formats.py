"""Headers against the reference library both ways, hostile bytes, and writes that fail."""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from puna.errors import FormatError, PunaError, SourceError, StorageError
from puna.formats import read_header, read_index, write_atomic, write_header
from puna.weights import read_tensors, save_tensors

KINDS = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)
SHAPES = ((3, 5), (), (0, 4), (7,), (2, 1, 3))


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        f"{kind} {shape} é": torch.randint(0, 100, shape, generator=generator).to(kind)
        for kind in KINDS
        for shape in SHAPES
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and torch.equal(a[n], b[n]) for n in a
    )


def test_what_the_reference_library_writes_is_read(tmp_path: Path) -> None:
    tensors = some_tensors()
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt", "note": "x"})
    refs = read_header(tmp_path / "a.safetensors")
    raw = (tmp_path / "a.safetensors").read_bytes()
    for name, tensor in tensors.items():
        start, end = refs[name].span
        assert refs[name].shape == tuple(tensor.shape)
        assert raw[start:end] == tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    assert same(read_tensors(tmp_path / "a.safetensors"), tensors)


def test_what_we_write_is_read_by_the_reference_library(tmp_path: Path) -> None:
    tensors, path = some_tensors(), tmp_path / "a.safetensors"
    save_tensors(path, {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()}, tensors.items())
    assert same(load_file(path), tensors)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert read_header(path)[next(iter(tensors))].span[0] % 64 == 0


def test_no_tensors_at_all(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {}, ())
    assert read_tensors(tmp_path / "a.safetensors") == load_file(tmp_path / "a.safetensors") == {}


def check(error: PunaError, path: Path) -> None:
    assert str(path) in str(error)
    assert len(str(error).splitlines()) <= 3


NAMES = st.one_of(st.sampled_from(["a", "b", "__metadata__"]), st.text(max_size=3))
NUMBERS = st.one_of(
    st.integers(0, 40), st.sampled_from([-1, 1 << 59, 1 << 63, 1 << 70, 1.5, True, None, "4"])
)
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "", 7, None]),
            "shape": st.lists(NUMBERS, max_size=3),
            "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3),
        },
        optional={"more": st.none()},
    ),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=2), lambda x: st.lists(x, max_size=2)
    ),
)
JSON_HEADERS = st.dictionaries(NAMES, ENTRIES, max_size=3).map(lambda h: json.dumps(h).encode())


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    raw=st.one_of(JSON_HEADERS, st.binary(max_size=40)),
    claimed=st.one_of(st.none(), st.integers(0, 100), st.integers(0, (1 << 64) - 1)),
    data=st.binary(max_size=40),
)
def test_any_bytes_are_read_or_refused(
    tmp_path: Path, raw: bytes, claimed: int | None, data: bytes
) -> None:
    path = tmp_path / "fuzz.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw) if claimed is None else claimed) + raw + data)
    size = path.stat().st_size
    try:
        refs = read_header(path)
    except (FormatError, SourceError) as error:
        check(error, path)
        return
    spans = sorted(ref.span for ref in refs.values())
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert not spans or spans[-1][1] == size


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_sound_file_with_one_wound_is_read_or_refused(
    tmp_path: Path, at: int, byte: int, cut: bool
) -> None:
    """Never another outcome, and where the reference library still reads it, so the same."""
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 3, dtype=torch.bfloat16)}
    shapes = {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()}
    path = tmp_path / "wound.safetensors"
    save_tensors(path, shapes, tensors.items())
    raw = bytearray(path.read_bytes())
    at %= len(raw)
    path.write_bytes(raw[:at] if cut else bytes(raw[:at]) + bytes([byte]) + bytes(raw[at + 1 :]))
    try:
        got = read_tensors(path)
    except (FormatError, SourceError) as error:
        check(error, path)
        return
    theirs = load_file(path)
    assert got.keys() == theirs.keys()
    assert all(
        got[n].view(-1).view(torch.uint8).tolist() == theirs[n].view(-1).view(torch.uint8).tolist()
        for n in got
    )


@settings(max_examples=200, deadline=None)
@given(value=st.dictionaries(NAMES, ENTRIES, max_size=3))
def test_any_index_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "index"
    folder.mkdir(exist_ok=True)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": value}))
    with pytest.raises((FormatError, SourceError)):
        read_index(path)


def test_an_index_names_its_shards(tmp_path: Path) -> None:
    for name in ("1.safetensors", "2.safetensors"):
        (tmp_path / name).write_bytes(b"")
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}))
    assert read_index(path) == {"a": tmp_path / "2.safetensors", "b": tmp_path / "1.safetensors"}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomic(path, b"old")
    write_atomic(path, iter([b"new", memoryview(b" and longer")]))
    assert path.read_bytes() == b"new and longer"
    assert leftovers(path.parent) == []


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise failure

    with pytest.raises((StorageError, KeyboardInterrupt)) as caught:
        write_atomic(path, chunks())
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []
    if isinstance(caught.value, PunaError):
        assert "No space left" in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "file" / "a.txt", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "folder", b"x")
    assert leftovers(tmp_path) == []


def test_the_next_write_sweeps_what_a_killed_one_left_but_no_live_one(tmp_path: Path) -> None:
    path = tmp_path / "a[1].txt"
    dead, live = tmp_path / ".a[1].txt.00000000.part", tmp_path / ".a[1].txt.11111111.part"
    other = tmp_path / ".b.txt.00000000.part"
    for left in (dead, live, other):
        left.write_bytes(b"half")
    with live.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_atomic(path, b"new")
    assert leftovers(tmp_path) == [live.name, other.name]


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "a.txt", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600


def test_header_of_unaligned_dtypes_counts_bytes() -> None:
    raw = write_header({"a": ("U8", (3,)), "b": ("F32", (2,))})
    header = json.loads(raw[8:])
    assert header["b"]["data_offsets"] == [3, 11]
    assert struct.unpack("<Q", raw[:8])[0] == len(raw) - 8
