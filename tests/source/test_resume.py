"""A pull that is killed, at any moment, goes on where it stopped and ends in equal bytes."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from puna.errors import FormatError, SourceError, StorageError
from puna.source import pull, pulling, resolve
from puna.source.cache import storage
from tests.hub import Hub, sha256
from tests.source.conftest import ROOT, Puna, said

SIZE = 6 << 20
WEIGHTS = random.Random(7).randbytes(SIZE)
BLOB = sha256(WEIGHTS)


@pytest.fixture
def big(hub: Hub, tiny_files: dict[str, bytes]) -> dict[str, bytes]:
    """Put a model of several megabytes on the hub and return what a pull of it brings."""
    files = {
        "config.json": tiny_files["config.json"],
        "README.md": tiny_files["README.md"],
        "model.safetensors": WEIGHTS,
    }
    hub.add("org/big", files)
    return files


def start() -> subprocess.Popen[bytes]:
    """Start a pull in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "puna", "pull", "org/big"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def partial() -> int:
    """Return the bytes of the large file that are on the disk, unfinished."""
    blobs = storage(Path(os.environ["PUNA_HOME"]) / "hub", "org/big") / "blobs"
    found = blobs / f"{BLOB}.incomplete"
    return found.stat().st_size if found.is_file() else 0


def test_a_pull_killed_again_and_again_ends_in_equal_bytes(
    hub: Hub, puna: Puna, big: dict[str, bytes]
) -> None:
    """Ten kills in the middle of the file, by bytes sent; four by the clock, wherever they hit."""
    dice = random.Random(3)
    hub.faults.bytes_per_second = 8e6
    kept: list[int] = []
    for step in range(14):
        process = start()
        if step % 4 == 3:
            time.sleep(dice.uniform(0.05, 0.6))
        else:
            target = hub.sent + dice.randrange(200_000, 700_000)
            while hub.sent < target and process.poll() is None:
                time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(SourceError):
            resolve("org/big")  # what is half here is not a model
        kept.append(partial())
    assert kept == sorted(kept), "a kill lost bytes that were on the disk"
    assert 0 < kept[-1] < SIZE
    assert len(set(kept)) >= 7
    hub.faults.bytes_per_second = None
    assert puna("pull", "org/big").returncode == 0
    folder = resolve("org/big").path
    for name, data in big.items():
        assert (folder / name).read_bytes() == data
    assert partial() == 0
    ranges = [h["Range"] for _, path, h in hub.asked if "/storage/" in path and "Range" in h]
    assert len(ranges) >= 7
    # What went over the line twice is what was under way at each kill, and no more.
    assert hub.sent < SIZE + 14 * (1 << 20)


def test_a_connection_that_breaks_off_is_taken_up_in_the_same_pull(
    hub: Hub, big: dict[str, bytes]
) -> None:
    hub.faults.cut_after["model.safetensors"] = 2 << 20
    assert (
        pull("org/big").source.path.joinpath("model.safetensors").read_bytes()
        == big["model.safetensors"]
    )
    asked = [h.get("Range") for _, path, h in hub.asked if "/storage/" in path]
    assert len(asked) >= 3


def test_a_hub_without_ranges_starts_the_file_anew(hub: Hub, big: dict[str, bytes]) -> None:
    hub.faults.cut_after["model.safetensors"] = 1 << 20
    hub.faults.ignore_range = True
    with pytest.raises(Exception, match=r"no connection|announced"):
        pull("org/big")
    hub.faults.cut_after.clear()
    source = pull("org/big").source
    assert (source.path / "model.safetensors").read_bytes() == big["model.safetensors"]


def test_a_damaged_partial_file_is_fetched_anew(hub: Hub, big: dict[str, bytes]) -> None:
    """As a crash of the machine leaves it: the right length, zeros in place of bytes."""
    digest = sha256(big["model.safetensors"])
    blobs = storage(Path(os.environ["PUNA_HOME"]) / "hub", "org/big") / "blobs"
    blobs.mkdir(parents=True)
    for size in (1 << 20, SIZE, SIZE + 5):
        (blobs / f"{digest}.incomplete").write_bytes(b"\0" * size)
        (blobs / digest).unlink(missing_ok=True)
        source = pull("org/big").source
        assert (source.path / "model.safetensors").read_bytes() == big["model.safetensors"]


def test_two_pulls_at_once_fetch_the_model_once(hub: Hub, big: dict[str, bytes]) -> None:
    hub.faults.bytes_per_second = 6e6
    processes = [start() for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    folder = resolve("org/big").path
    for name, data in big.items():
        assert (folder / name).read_bytes() == data
    assert hub.sent == sum(map(len, big.values()))


def test_ctrl_c_ends_a_pull_at_once_and_keeps_what_came(hub: Hub, big: dict[str, bytes]) -> None:
    hub.faults.bytes_per_second = 1e6
    process = subprocess.Popen(
        [sys.executable, "-m", "puna", "pull", "org/big"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while partial() < 100_000 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    assert 100_000 <= partial() < SIZE, [*Path(os.environ["PUNA_HOME"]).rglob("*")]


def test_a_disk_that_fills_is_an_error_and_loses_nothing(
    hub: Hub, puna: Puna, big: dict[str, bytes]
) -> None:
    limit = 2 << 20
    process = subprocess.run(
        [sys.executable, "-m", "puna", "pull", "org/big"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    error = said(process)
    assert "File too large" in error
    assert "goes on from there" in error
    assert partial() == limit
    before = hub.sent
    assert puna("pull", "org/big").returncode == 0
    assert SIZE - limit <= hub.sent - before < SIZE - limit + 1000
    assert (resolve("org/big").path / "model.safetensors").read_bytes() == big["model.safetensors"]


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    hub: Hub, big: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage("/")
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(
        StorageError, match=r"needs 6\.29 MB and 67\.1 MB to spare, and the disk has 5 MB"
    ):
        pull("org/big")
    assert hub.sent == 0


def test_nothing_is_written_beyond_the_announced_size(hub: Hub, big: dict[str, bytes]) -> None:
    hub.faults.bodies["model.safetensors"] = big["model.safetensors"] + b"\0" * (4 << 20)
    with pytest.raises(FormatError, match="sends more"):
        pull("org/big")
    assert partial() == 0
