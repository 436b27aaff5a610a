"""With and without a compiler, and with what the environment says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from puna.kernels import library

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import setup; sys.argv[0] = 'setup.py'; setup()"
ASK = """
import sys
from puna.__main__ import main
sys.argv = ["puna", "generate", "cria", "--prompt", "The llama"]
main()
"""
LOOK = """
import puna
lm = puna.load("cria", device="cpu")
from puna.model import threads
found = threads()
print(type(lm.engine.runner).__name__, found and found.level)
print(lm.generate("The llama", max_tokens=8).ids)
"""


def look(kernels: str | None, code: str = LOOK) -> subprocess.CompletedProcess[str]:
    named = {} if kernels is None else {"PUNA_KERNELS": kernels}
    environment = {**os.environ, **named}
    if kernels is None:
        environment.pop("PUNA_KERNELS", None)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(library() is None, reason="the kernels were not compiled")
def test_the_environment_chooses() -> None:
    levels = library().levels()  # type: ignore[union-attr]
    said = {}
    for kernels in (None, "off", *levels):
        done = look(kernels)
        assert done.returncode == 0, done.stderr
        runner, ids = done.stdout.splitlines()
        said[kernels] = ids
        level = levels[-1] if kernels is None else kernels
        if kernels == "off":
            assert runner == "TorchRunner None"
        else:  # ByRows where the library is faster at many rows
            assert runner in (f"NativeRunner {level}", f"ByRows {level}")
    assert len(set(said.values())) == 1


def test_instructions_that_there_are_not() -> None:
    done = look("avx1024", ASK)
    assert done.returncode != 0
    assert "PUNA_KERNELS" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_compiler_the_package_builds_without_kernels(tmp_path: Path) -> None:
    places = ["--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, "build_ext", *places],
        env={**os.environ, "CC": "/bin/false", "CXX": "/bin/false"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "_native" in done.stderr + done.stdout
    assert not list(tmp_path.rglob("_native*.so"))
