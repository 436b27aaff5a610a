"""What every test may use: the shared material, a private home, and no network but loopback."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real tokenizers, templates and checkpoints that lies beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the shared material in ../shared/data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def cria_folder() -> Path:
    """The folder of the model that ships inside."""
    from puna.source import resolve

    return resolve("cria").path


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or touches the user's own state, model caches or tokens."""
    folder = tmp_path / "puna-home"
    monkeypatch.setenv("PUNA_HOME", str(folder))
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return folder


def _refuse_network(event: str, args: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    address = args[1]
    if not isinstance(address, tuple):
        return  # a unix socket is a file
    host = str(address[0])
    if not (host.startswith("127.") or host in {"::1", "localhost"}):
        raise RuntimeError(f"a test tried to reach {host}: only loopback is allowed")


sys.addaudithook(_refuse_network)
# A run started in the background ignores Ctrl-C, and so would every program that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
