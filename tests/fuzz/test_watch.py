"""The watch over a target sees every kind of misdeed, and nothing where there is none."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from puna.errors import FormatError
from tests.fuzz.run import ROOT
from tests.fuzz.target import Target
from tests.fuzz.watch import Watch


def watch(one: Callable[[bytes], object], folder: Path, **more: float) -> Watch:
    return Watch(Target((), lambda data: one(data) and None, lambda data, *_: data), folder, **more)


def kind(one: Callable[[bytes], object], folder: Path, **more: float) -> str | None:
    found = watch(one, folder, **more).run(b"x")
    return found.kind if found else None


def refuse(what: str, where: str | None = None) -> None:
    raise FormatError(what, where=where, remedy="get it again")


def in_silence(deed: Callable[[], object]) -> None:
    with suppress(Exception):
        deed()


def test_what_is_allowed(tmp_path: Path) -> None:
    assert kind(lambda data: len(data), tmp_path) is None
    assert kind(lambda data: refuse("the file is cut"), tmp_path) is None
    assert kind(lambda data: (tmp_path / "inner").write_bytes(data), tmp_path) is None
    assert kind(lambda data: __import__("this.is.not.there"), tmp_path) == "ModuleNotFoundError"


def test_what_was_read_is_counted(tmp_path: Path) -> None:
    over = watch(lambda data: refuse("no") if data == b"bad" else None, tmp_path)
    for data in (b"good", b"bad", b"good"):
        assert over.run(data) is None
    assert (over.inputs, over.accepted) == (3, 2)


def test_messages_that_no_user_may_see(tmp_path: Path) -> None:
    assert kind(lambda data: refuse("x" * 600), tmp_path) == "message"
    assert kind(lambda data: refuse("no", where="x" * 5400), tmp_path) == "message"


@pytest.mark.parametrize("what", ["a bell \a", "an escape \x1b[2J", "half a character \ud800"])
def test_what_a_terminal_obeys_is_in_no_message(what: str, tmp_path: Path) -> None:
    assert kind(lambda data: refuse(what, where=what), tmp_path) is None


def test_other_errors_are_told_apart_by_kind_and_place(tmp_path: Path) -> None:
    found = watch(lambda data: {}["a"], tmp_path).run(b"x")
    assert found is not None
    assert found.kind == "KeyError"
    assert "test_watch.py" in found.place
    assert "Traceback" in found.text


DEEDS: dict[str, Callable[[], object]] = {
    "reading a file elsewhere": lambda: Path("/etc/hostname").read_text(),
    "listing a folder elsewhere": lambda: os.listdir("/etc"),
    "a shell": lambda: os.system("true"),
    "a program": lambda: subprocess.run(["true"], check=False),
    "a socket": lambda: socket.socket(),
    "text that is run": lambda: eval("1 + 1"),
    "code that is run": lambda: exec("x = 1"),
    "a pickle that names a function": lambda: pickle.loads(b"cos\ngetcwd\n."),
}


@pytest.mark.parametrize("name", DEEDS)
def test_misdeeds_are_seen_and_held_back_however_they_hide(name: str, tmp_path: Path) -> None:
    assert kind(lambda data: in_silence(DEEDS[name]), tmp_path) == "deed"


def test_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    climbing = inside / ".." / "outside"
    assert kind(lambda data: in_silence(lambda: climbing.write_bytes(data)), inside) == "deed"
    (inside / "link").symlink_to(outside)
    linked = inside / "link"
    assert kind(lambda data: in_silence(lambda: linked.write_bytes(data)), inside) == "deed"
    assert not outside.exists()


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_that_an_input_takes(tmp_path: Path) -> None:
    assert kind(lambda data: busy(0.1), tmp_path, seconds=0.05) == "time"
    # A machine that is busy with something else is no finding.
    assert kind(lambda data: time.sleep(0.1), tmp_path, seconds=0.05) is None


def test_memory_that_an_input_takes() -> None:
    """In a process of its own, since what counts is the most that a process ever held."""
    code = (
        "from pathlib import Path; from tests.fuzz.test_watch import watch; import sys;"
        "over = watch(lambda data: b'x' * (int(data) << 20), Path('.'), every=4);"
        "print([found and found.text for found in map(over.run, map(str.encode, sys.argv[1:]))])"
    )
    for sizes, said in (("64 1 100 2", "[None, None, None, None]"), ("1 900 2 3", "input of 3: ")):
        command = [sys.executable, "-c", code, *sizes.split()]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert said in told
    assert "b'900'" in told
