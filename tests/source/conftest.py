"""A hub on loopback with a tiny model, asked in this process or by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub import Hub, running_hub
from tests.unit.tiny import save_tiny

Puna = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a model, with what a pull needs and what it does not."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny(folder)
    return {
        **{path.name: path.read_bytes() for path in folder.iterdir()},
        "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
        "LICENSE": b"MIT License\n",
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "pytorch_model.bin": b"the same in another form",
        "consolidated.safetensors": b"and in a third",
        "onnx/model.onnx": b"and in a fourth",
        "logs/events.out": b"nobody needs this",
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Yield a hub that this process asks; subprocesses are told by HF_ENDPOINT."""
    from huggingface_hub import close_session, constants, file_download

    from puna.source import hub as hub_room

    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(hub_room, "_WAITS", (0.01, 0.01, 0.01))
        monkeypatch.delenv("HF_HUB_CACHE")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running
        close_session()


@pytest.fixture
def puna(hub: Hub) -> Puna:
    """Return a function that runs a command of the program in a process of its own."""

    def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
        return subprocess.run(
            [sys.executable, "-m", "puna", *argv], env=env, capture_output=True, text=True
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a command that fails as errors should."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    _, mark, error = done.stderr.rpartition("error: ")
    assert mark, done.stderr
    assert len(error.splitlines()) <= 3, error
    return error
