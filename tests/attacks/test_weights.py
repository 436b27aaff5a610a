"""Weights that lie, run code, unpack without end, or a disk and a kill in the midst of a save."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from puna.errors import FormatError, PunaError, SourceError, WeightsError
from puna.families import read_config
from puna.model import build
from puna.weights import open_checkpoint, read_tensors, save_tensors
from tests.attacks.weights.saver import CONFIG, save

FOLDER = Path(__file__).parent / "weights"
ROOT = Path(__file__).resolve().parents[2]


def check(error: PunaError, file: str) -> str:
    """Hold an error to what a user may be shown; return it."""
    text = str(error)
    assert len(text.splitlines()) <= 3
    assert len(text) < 1500
    assert file in text
    assert text.encode().decode().replace("\n", "").isprintable()
    return text


def refused(folder: Path, file: str, kind: type[PunaError]) -> str:
    """Open a folder and read all of it; it must be refused."""
    with pytest.raises(PunaError) as caught:
        [entry.tensor.sum() for entry in open_checkpoint(folder).entries()]
    assert type(caught.value) is kind
    return check(caught.value, file)


# --- safetensors -------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", sorted(FOLDER.glob("headers/*.json")), ids=lambda p: p.stem)
def test_headers_that_lie(attack: Path, tmp_path: Path) -> None:
    text = attack.read_bytes()
    raw = struct.pack("<Q", len(text)) + text + bytes(32)
    (tmp_path / "model.safetensors").write_bytes(raw)
    refused(tmp_path, "model.safetensors", FormatError)


def test_there_are_headers_and_indexes_to_test() -> None:
    assert len(list(FOLDER.glob("headers/*.json"))) > 30
    assert len(list(FOLDER.glob("indexes/*.json"))) > 15


@pytest.mark.parametrize("claim", [33, 1 << 20, 100 << 20, 1 << 40, (1 << 63) + 1, (1 << 64) - 1])
def test_a_header_that_claims_more_than_the_file(claim: int, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", claim) + b"{}" + b" " * 30)
    assert str(claim) in refused(tmp_path, "model.safetensors", FormatError)


def test_a_huge_file_of_nothing_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 1 << 39))
        file.truncate(1 << 40)  # a hole: it takes no room
    refused(tmp_path, "model.safetensors", FormatError)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(64.0), "b": torch.ones(3)}, path)
    raw = path.read_bytes()
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        refused(tmp_path, "model.safetensors", FormatError)


# --- indexes -----------------------------------------------------------------------------------


WEIGHTS = {"wrong_shard", "tensor_nowhere", "tensor_not_listed"}
SOURCE = {
    "missing_shard",
    "null_byte",
    "half_a_character",
    "paints_the_terminal",
    "too_long_a_name",
}


@pytest.mark.parametrize("attack", sorted(FOLDER.glob("indexes/*.json")), ids=lambda p: p.stem)
def test_indexes_that_lie(attack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "up" / "model"
    folder.mkdir(parents=True)
    for outside in (tmp_path / "x", tmp_path / "up" / "model.safetensors"):
        save_file({"a": torch.ones(2)}, outside)
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, folder / "shard.safetensors")
    save_file({"c": torch.ones(2)}, folder / "other.safetensors")
    (folder / "evil.py").write_bytes(pickle.dumps(Payload(tmp_path / "PWNED")))
    shutil.copy(attack, folder / "model.safetensors.index.json")
    kinds = dict.fromkeys(WEIGHTS, WeightsError) | dict.fromkeys(SOURCE, SourceError)
    file = "evil.py" if attack.stem == "python_file" else str(folder)
    refused(folder, file, kinds.get(attack.stem, FormatError))
    assert not (tmp_path / "PWNED").exists()


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("1.safetensors", "2.safetensors"):
        save_file({"a": torch.ones(2), name: torch.ones(1)}, tmp_path / name)
    index = '{"weight_map": {"a": "1.safetensors", "1.safetensors": "1.safetensors", '
    index += '"2.safetensors": "2.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    refused(tmp_path, "2.safetensors", WeightsError)


# --- pickles -----------------------------------------------------------------------------------


class Payload:
    """Unpickling this by the standard library runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.proof}'",)


def save_bin(value: Any, path: Path, form: str) -> None:
    if form == "raw":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=form == "zip")


@pytest.mark.parametrize("form", ["zip", "legacy", "raw"])
def test_a_pickle_that_would_run_a_command(form: str, tmp_path: Path) -> None:
    proof = tmp_path / "PWNED"
    save_bin({"a": torch.ones(2), "b": Payload(proof)}, tmp_path / "pytorch_model.bin", form)
    text = refused(tmp_path, "pytorch_model.bin", FormatError)
    assert not proof.exists()
    assert "safetensors" in text
    assert "system" in text
    with (tmp_path / "pytorch_model.bin").open("rb") as file:  # the payload does what it says
        if form == "raw":
            pickle.load(file)
            assert proof.exists()


def test_a_pickle_whose_reading_never_ends(tmp_path: Path) -> None:
    """A key that is (t, t) of (t, t) of …, sixty deep, takes 2⁶⁰ steps to hash."""
    bomb = b"\x80\x02}q\x00K\x01\x85q\x01" + b"h\x01\x86q\x01" * 60 + b"K\x01s."
    start = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {})]
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"".join(start) + bomb)
    assert "repeats a tuple" in refused(tmp_path, "pytorch_model.bin", FormatError)
    torch.save({"a": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, bomb if name.endswith("data.pkl") else content)
    assert "repeats a tuple" in refused(tmp_path, "pytorch_model.bin", FormatError)


class Module(torch.nn.Linear):
    """A whole module, as `torch.save(model)` wrote them."""


NOT_TABLES = {
    "module": Module(2, 2),
    "list": [torch.ones(2)],
    "number": {"a": 7},
    "key": {7: torch.ones(2)},
    "nested": {"a": {"b": torch.ones(2)}},
    "sparse": {"a": torch.eye(3).to_sparse()},
    "absent": {"a": torch.empty(3, device="meta")},
    "repeated": {"a": torch.zeros(1).expand(1 << 20, 1 << 20)},
    "repeated at the end": {"a": torch.zeros(1 << 10)[-1:].expand(1 << 10)},
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("kind", NOT_TABLES)
def test_a_pickle_of_something_else(kind: str, form: str, tmp_path: Path) -> None:
    if (kind, form) == ("absent", "legacy"):
        pytest.skip("the old format has no tensors without storage")
    save_bin(NOT_TABLES[kind], tmp_path / "pytorch_model.bin", form)
    refused(tmp_path, "pytorch_model.bin", FormatError)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_pickle_cut_anywhere(form: str, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    save_bin({"a": torch.arange(200.0), "b": torch.ones(3)}, path, form)
    raw = path.read_bytes()
    for length in range(0, len(raw), 37):
        path.write_bytes(raw[:length])
        refused(tmp_path, "pytorch_model.bin", FormatError)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_pickle_with_wounds_is_read_or_refused(form: str, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    save_bin({"a": torch.arange(20.0), "b": torch.ones(3)}, path, form)
    raw, dice = path.read_bytes(), random.Random(11)
    for _ in range(150):
        wounded = bytearray(raw)
        for _ in range(dice.choice([1, 1, 8])):
            wounded[dice.randrange(len(raw))] = dice.randrange(256)
        path.write_bytes(wounded)
        try:
            [tensor.sum() for tensor in read_tensors(path).values()]
        except PunaError as error:
            check(error, "pytorch_model.bin")


def test_an_archive_that_unpacks_without_end(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(1 << 20)}, path)
    small = tmp_path / "small.bin"
    with zipfile.ZipFile(path) as big, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in big.infolist():
            bomb.writestr(entry.filename, big.read(entry))
    small.replace(path)
    assert path.stat().st_size < 20_000
    assert "unpacks to" in refused(tmp_path, "pytorch_model.bin", FormatError)


def test_an_archive_whose_parts_lie_over_each_other(tmp_path: Path) -> None:
    """Many names for the same bytes, none of them compressed."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(1 << 12)}, path)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        names = len(archive.infolist())
    records = raw[start : raw.rindex(b"PK\x05\x06")]
    records = records[: records.index(b"PK\x06\x06")] if b"PK\x06\x06" in records else records
    at = next(
        i
        for i in range(len(records))
        if records[i : i + 4] == b"PK\x01\x02"
        and struct.unpack("<I", records[i + 24 : i + 28])[0] == largest.file_size
    )
    end = records.find(b"PK\x01\x02", at + 4)
    one = records[at : end if end > 0 else len(records)]
    total = records + one * 200
    tail = struct.pack(
        "<4s4H2IH", b"PK\x05\x06", 0, 0, names + 200, names + 200, len(total), start, 0
    )
    path.write_bytes(raw[:start] + total + tail)
    refused(tmp_path, "pytorch_model.bin", FormatError)


def test_a_legacy_file_that_claims_more_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(77_777)}, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    number = b"J" + struct.pack("<i", 77_777)
    assert raw.count(number) == 2  # the storage's length, and the tensor's shape
    path.write_bytes(raw.replace(number, b"\x8a\x06" + (1 << 45).to_bytes(6, "little")))
    refused(tmp_path, "pytorch_model.bin", FormatError)


# --- a disk that fills, and a kill -------------------------------------------------------------


def saver(folder: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.attacks.weights.saver", folder, mode],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE as Linux keeps it")
def test_a_disk_that_fills_leaves_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    old = {"a": torch.arange(1000.0)}
    save_tensors(folder / "model.safetensors", {"a": (torch.float32, (1000,))}, old.items())
    before = (folder / "model.safetensors").read_bytes()
    with saver(folder, "full") as process:
        said = process.communicate()[0]
    kind, *text = said.splitlines()
    assert kind == "StorageError"
    assert text[0].startswith("cannot write model.safetensors: File too large")
    assert len(text) <= 3
    assert str(folder) in said
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


KILLS = 15


def only_value(folder: Path) -> int:
    """Return the number that fills every tensor of a saved model: all of them hold the same."""
    values = {float(end) for e in open_checkpoint(folder).entries() for end in e.tensor.aminmax()}
    assert len(values) == 1
    return int(values.pop())


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and kill -9 as Linux keeps them")
def test_a_kill_at_any_moment_leaves_the_old_model_or_the_new(tmp_path: Path) -> None:
    """One file and shards alike, and nothing that was acknowledged is lost."""
    dice, acknowledged, interrupted = random.Random(1), 0, 0
    save(tmp_path, build(read_config(CONFIG), device="cpu"), 0)
    (tmp_path / "acknowledged").touch()  # a child may be killed before it gets there
    with saver(tmp_path, "loop") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(KILLS):
            process.stdin.write("\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            time.sleep(dice.uniform(0.02, 0.2))
            os.kill(child, signal.SIGKILL)
            while Path(f"/proc/{child}").exists():
                time.sleep(0.001)
            acknowledged = int(((tmp_path / "acknowledged").read_text().split() or ["0"])[-1])
            for folder in (tmp_path / "single", tmp_path / "shards"):
                assert only_value(folder) in (acknowledged, acknowledged + 1)
                interrupted += bool(list(folder.glob(".*.part")))
            load_file(tmp_path / "single" / "model.safetensors")
        process.stdin.close()
    assert acknowledged > 0
    assert interrupted > 0  # some kills fell into a write
    save(tmp_path, build(read_config(CONFIG), device="cpu"), 7)
    assert {path.name for path in (tmp_path / "single").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
