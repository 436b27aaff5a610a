"""GGUF files that lie about counts, sizes, types and places, or end too soon."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.errors import FormatError, PunaError, SourceError
from puna.families import gguf_config, read_config
from puna.formats import Gguf, TensorRef, read_gguf
from puna.loading import load_parts
from puna.reading import describe
from puna.source import resolve
from puna.weights import open_checkpoint
from tests.attacks.test_weights import check

U8, I8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 1, 4, 6, 7, 8, 9, 10


def text(value: bytes | str, length: int | None = None) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def key(name: bytes | str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + items


def tensor(name: bytes | str, sizes: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def file(
    keys: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    data: bytes = bytes(256),
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(keys))))
    head += b"".join((*keys, *tensors))
    return head + bytes(-len(head) % 32) + data


def refused(path: Path, raw: bytes, kind: type[PunaError] = FormatError) -> str:
    """Write a file; neither reader may take it."""
    path.write_bytes(raw)
    with pytest.raises(PunaError) as caught:
        open_checkpoint(path) if raw[:4] == b"GGUF" else read_gguf(path)
    assert type(caught.value) is kind
    return check(caught.value, path.name)


BIG = (1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
ALIGN = "general.alignment"


def lies() -> Iterator[tuple[str, bytes]]:
    """Yield each lie with what the refusal must say."""
    yield "does not begin with GGUF", b"GGML" + bytes(60)
    yield "format GGJT", b"tjgg" + bytes(60)
    yield "format GGML", b"lmgg" + bytes(60)
    yield "version 1", file(version=1)
    yield "version 4", file(version=4)
    yield "big-endian", file(version=3 << 24)
    for count in BIG:
        yield f"{count} tensors do not fit", file(counts=(count, 0))
        yield f"{count} metadata keys do not fit", file(counts=(0, count))
        yield "is too long", file((text(b"", count) + bytes(40),), counts=(0, 1))
        yield "runs past the end", file((key("a", STRING, text(b"x", count)),))
        for kind, what in ((U8, "values"), (F32, "values"), (STRING, ""), (BOOL, "values")):
            yield f"{count} {what}", file((key("a", ARRAY, array(kind, count, bytes(64))),))
        yield "runs past the end", file((key("a", ARRAY, array(STRING, 2, text(b"x", count))),))
        yield "impossible sizes", file((), (tensor("t", (count, count)),))
        yield "no multiple of", file((), (tensor("t", (4,), offset=count | 1),))
        yield "beyond the end", file((), (tensor("t", (4,), offset=count & ~31),))
        yield "cannot be read", file((), (tensor("t", (4,), kind=count >> 32 | 0x7000),))
    yield "unknown type 13", file((key("a", 13, bytes(8)),))
    yield "unknown type 99", file((key("a", ARRAY, array(99, 1, bytes(8))),))
    yield "arrays of arrays", file((key("a", ARRAY, array(ARRAY, 1, array(U8, 0, b""))),))
    yield "neither 0 nor 1", file((key("a", BOOL, b"\2"),))
    yield "stands twice", file((key("a", U8, b"\1"), key("a", U8, b"\1")))
    yield "not UTF-8", file((key(b"\xff\xfe", U8, b"\1"),))
    yield "not UTF-8", file((key("a", STRING, text(b"\xc3(")),))
    yield "not UTF-8", file((key("a", ARRAY, array(STRING, 1, text(b"\xed\xa0\x80"))),))
    yield "not UTF-8", file((), (tensor(b"\xc0\xaf", (4,)),))
    yield "is too long", file((), (tensor(b"n" * 256, (4,)),))
    yield "stands twice or is empty", file((), (tensor("", (4,)),))
    twice = (tensor("t", (4,)), tensor("t", (4,), offset=32))
    yield "stands twice or is empty", file((), twice)
    yield "overlaps another", file((), (tensor("a", (16,)), tensor("b", (4,), offset=32)))
    yield "overlaps another", file((), (tensor("a", (4,)), tensor("b", (4,))))
    yield "0 axes", file((), (tensor("t", ()),))
    yield "5 axes", file((), (tensor("t", (1, 1, 1, 1, 1)),))
    yield "impossible sizes", file((), (tensor("t", (0,)),))
    yield "impossible sizes", file((), (tensor("t", (4, 0)),))
    yield "impossible sizes", file((), (tensor("t", (1 << 20, 1 << 20, 1 << 20, 1 << 20)),))
    yield "no multiple of 32, as Q4_0", file((), (tensor("t", (33, 2), kind=2),))
    yield "no multiple of 256, as Q6_K", file((), (tensor("t", (32,), kind=14),))
    yield "beyond the end", file((), (tensor("t", (64, 8), kind=2),))
    yield "Q4_2", file((), (tensor("t", (32,), kind=4),))
    yield "Q4_0_4_4", file((), (tensor("t", (32,), kind=31),))
    for value in (0, 3, 33, 1 << 21):
        yield "power of two", file((key(ALIGN, U32, struct.pack("<I", value)),))
    yield "power of two", file((key(ALIGN, STRING, text("32")),))
    yield "power of two", file((key(ALIGN, F32, struct.pack("<f", 32.0)),))
    yield (
        "no multiple of 64",
        file((key(ALIGN, U32, struct.pack("<I", 64)),), (tensor("t", (4,), offset=32),)),
    )
    count = "split.count"
    yield "not a number of files", file((key(count, STRING, text("two")),))
    yield "not a number of files", file((key(count, U32, struct.pack("<I", 100_000)),))
    yield "one of 99999 files", file((key(count, U32, struct.pack("<I", 99_999)),))


LIES = list(lies())


@pytest.mark.parametrize(("said", "raw"), LIES, ids=[f"{n}-{s}" for n, (s, _) in enumerate(LIES)])
def test_headers_that_lie(said: str, raw: bytes, tmp_path: Path) -> None:
    tracemalloc.start()
    refusal = refused(tmp_path / "model.gguf", raw)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20  # nothing is taken on a lie's word
    tracemalloc.stop()
    assert said in refusal


def sound() -> tuple[bytes, int]:
    """Return a small sound file, and where its data ends."""
    keys = (
        key("general.architecture", STRING, text("llama")),
        key("llama.block_count", U32, struct.pack("<I", 2)),
        key("words", ARRAY, array(STRING, 3, text("a") + text("") + text("éé"))),
        key("scores", ARRAY, array(F32, 2, struct.pack("<2f", 0.5, -1))),
        key("yes", ARRAY, array(BOOL, 2, b"\1\0")),
        key("long", U64, struct.pack("<Q", (1 << 64) - 1)),
    )
    tensors = (tensor("a", (32, 2), kind=8), tensor("b", (3,), offset=96))
    raw = file(keys, tensors, bytes(range(108)))
    return raw, len(raw)


def test_the_sound_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(sound()[0])
    found = read_gguf(path)
    assert found.metadata["words"] == ["a", "", "éé"]
    assert found.metadata["scores"] == [0.5, -1.0]
    assert found.metadata["yes"] == [True, False]
    assert found.metadata["long"] == (1 << 64) - 1
    assert found.tensors["a"].shape == (2, 32)
    assert [entry.name for entry in open_checkpoint(path).entries()] == ["a", "b"]


def test_a_file_cut_at_every_byte_is_refused(tmp_path: Path) -> None:
    raw, end = sound()
    for length in range(end):
        path = tmp_path / "model.gguf"
        path.write_bytes(raw[:length])
        with pytest.raises(FormatError) as caught:
            read_gguf(path)
        check(caught.value, "model.gguf")


def test_one_byte_changed_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    raw, end = sound()
    path = tmp_path / "model.gguf"
    for at in range(end - 108):
        for value in (0, 0x7F, 0x80, 0xFF):
            path.write_bytes(raw[:at] + bytes([value]) + raw[at + 1 :])
            try:
                [entry.tensor.sum() for entry in open_checkpoint(path).entries()]
            except PunaError as error:
                check(error, str(path) if "GGUF" in str(error) else "")


@settings(max_examples=300, deadline=None)
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=24)), max_size=4
    )
)
def test_any_damage_is_read_or_refused(
    cuts: list[tuple[int, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(sound()[0])
    for at, length, put in cuts:
        raw[at % len(raw) : at % len(raw) + length] = put
        raw = raw or bytearray(b"G")
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(raw)
    try:
        found = read_gguf(path)
    except PunaError as error:
        check(error, "damaged.gguf")
        return
    for ref in found.tensors.values():
        assert 0 <= ref.span[0] <= ref.span[1] <= len(raw)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=400), counts=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_any_bytes_behind_the_counts_are_read_or_refused(
    body: bytes, counts: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + body)
    try:
        read_gguf(path)
    except PunaError as error:
        check(error, "random.gguf")


def test_a_huge_file_of_nothing_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file_:
        file_.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1))
        file_.write(text("a") + struct.pack("<IIQ", ARRAY, U8, 1 << 39))
        file_.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(FormatError, match="do not fit"):
        read_gguf(path)


def test_a_header_is_bounded_even_where_the_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file_:
        file_.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1))
        file_.write(text("a") + struct.pack("<IIQ", ARRAY, STRING, 1 << 24))
        file_.truncate(1 << 32)
    with pytest.raises(FormatError, match="a header of 134217728 bytes"):
        read_gguf(path)


def test_names_with_path_parts_reach_no_path(tmp_path: Path) -> None:
    names = ("../../escape", "/etc/passwd", "a\0b", "a\nb\x1b[31m", "blk.0.ffn_up_exps.weight")
    tensors = tuple(tensor(name, (4,), offset=32 * n) for n, name in enumerate(names))
    path = tmp_path / "inside" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(file((key("general.architecture", STRING, text("../x\x1b[2J")),), tensors))
    assert {entry.name for entry in open_checkpoint(path).entries()} == set(names)
    for open_ in (lambda path: describe(resolve(path)), load_parts):
        with pytest.raises(PunaError) as caught:
            open_(path)
        check(caught.value, "model.gguf")
    assert [p.name for p in tmp_path.rglob("*")] == ["inside", "model.gguf"]


def test_no_file_and_a_folder_instead(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        read_gguf(tmp_path / "none.gguf")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(SourceError):
        read_gguf(tmp_path / "folder.gguf")
    (tmp_path / "empty.gguf").write_bytes(b"")
    with pytest.raises(FormatError):
        read_gguf(tmp_path / "empty.gguf")


def test_a_split_that_points_elsewhere(tmp_path: Path) -> None:
    """Only the name of the file itself says where the others are; metadata cannot."""
    two = key("split.count", U32, struct.pack("<I", 2))
    path = tmp_path / "x-00001-of-00003.gguf"
    path.write_bytes(file((two, key("split.no", U32, bytes(4)))))
    with pytest.raises(FormatError, match="one of 2 files"):
        read_gguf(path)
    for number in (1, 2):
        part = tmp_path / f"x-{number:05d}-of-00002.gguf"
        at = key("split.no", U32, struct.pack("<I", number - 1))
        part.write_bytes(file((two, at), (tensor("same", (4,)),)))
    with pytest.raises(FormatError, match="stands in two files"):
        read_gguf(part)


NEEDED = {
    "llama": ("attention.layer_norm_rms_epsilon", "feed_forward_length"),
    "falcon": ("attention.layer_norm_epsilon", "feed_forward_length"),
    "bloom": ("attention.layer_norm_epsilon",),
    "gptneox": ("attention.layer_norm_epsilon", "feed_forward_length", "use_parallel_residual"),
}
SHARED = ("context_length", "embedding_length", "block_count", "attention.head_count")
MORE = (
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "expert_count",
    "expert_used_count", "rope.dimension_count", "rope.freq_base", "rope.scaling.type",
    "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
    "attention.sliding_window", "attention.scale", "rope.scaling.llama3.factor",
)  # fmt: skip
SMALL = st.integers(0, 12) | st.sampled_from([64, 1 << 40, -1])
REAL = st.floats() | st.sampled_from([1e-5, 1.0, 10_000.0, 5e-324])
VALUES = (
    SMALL | REAL | st.booleans() | st.sampled_from(["yarn", "linear", "none", ""]) | st.just([])
)


@settings(max_examples=600, deadline=None)
@given(
    arch=st.sampled_from(sorted(NEEDED)),
    whole=st.lists(st.integers(1, 12), min_size=6, max_size=6),
    more=st.dictionaries(st.sampled_from((*MORE, *SHARED)), VALUES, max_size=5),
    table=st.none() | st.lists(REAL, min_size=1, max_size=6),
    split=st.booleans(),
)
def test_any_metadata_makes_a_spec_or_is_refused(
    arch: str, whole: list[int], more: dict[str, object], table: list[float] | None, split: bool
) -> None:
    numbers = dict(zip((*SHARED, "feed_forward_length"), whole, strict=False))
    values: dict[str, object] = {**numbers, **dict.fromkeys(NEEDED[arch], 1e-5)}
    values |= {"feed_forward_length": whole[4], "use_parallel_residual": split, **more}
    if arch == "bloom":
        values["feed_forward_length"] = 4 * whole[1]
    if arch != "gptneox":
        del values["use_parallel_residual"]
    metadata = {"general.architecture": arch} | {f"{arch}.{k}": v for k, v in values.items()}
    shapes = {"token_embd.weight": (17, whole[1])}
    if split:
        shapes |= {"blk.0.attn_norm_2.weight": (4,), "blk.0.attn_q.bias": (4,)}
    refs = {n: TensorRef(Path("m.gguf"), "F32", s, (0, 0)) for n, s in shapes.items()}
    found = Gguf((Path("m.gguf"),), 3, metadata, refs)
    try:
        with mock.patch("puna.families.gguf.convert.read_floats", return_value=table):
            read_config(gguf_config(found))
            hypothesis.event("a spec")
    except PunaError as error:
        hypothesis.event("refused")
        assert len(str(error).splitlines()) <= 3
