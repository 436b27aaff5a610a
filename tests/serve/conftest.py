"""A small model that can chat, and servers of it on free ports of loopback."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai
import pytest

from puna.families import name_table, read_config
from puna.generate import LanguageModel, load
from puna.model import build, initialize
from puna.serve.app import app_of
from puna.serve.completion import Desk
from puna.serve.run import listen, make_server
from puna.source import builtin_names, resolve
from puna.text import load_tokenizer
from puna.weights import save_folder

KEY = "sk-test"
MODEL = "tiny"
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "cria"


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cria's tokenizer and chat template."""
    if "cria" in builtin_names():
        return resolve("cria").path
    out = tmp_path_factory.mktemp("words")
    for script, *arguments in (
        ("make_data.py", "--out", out / "data", "--seed", 0, "--scale", 0.01),
        ("make_tokenizer.py", "--data", out / "data", "--out", out / "tokenizer"),
    ):
        command = [sys.executable, str(RECIPE / script), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)
    return out / "tokenizer"


@pytest.fixture(scope="session")
def folder(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, loud enough to say something else to every prompt.

    It is deaf to the end of a turn: a greedy request runs until somebody or the context ends it.
    """
    out = tmp_path_factory.mktemp("model") / MODEL
    out.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(words / name, out / name)
    tokenizer = load_tokenizer(out)
    assert tokenizer is not None
    config = json.loads((RECIPE / "config.json").read_text()) | {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "torch_dtype": "float32",
    }
    spec = read_config(config)
    model = build(spec, device="cpu")
    initialize(model, seed=1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name:
            parameter.data *= 12
    model.get_parameter("embed.tokens").data[config["eos_token_id"]] = 0
    save_folder(model, name_table(spec), out, config=config)
    return out


@pytest.fixture(scope="session")
def lm(folder: Path) -> LanguageModel:
    """The model for tests to ask directly; servers have their own."""
    return load(folder)


@dataclass(frozen=True)
class Room:
    """A running server."""

    address: str
    lm: LanguageModel

    def client(self, **kw: object) -> openai.OpenAI:
        settings = {"base_url": f"{self.address}/v1", "api_key": KEY, "max_retries": 0, **kw}
        return openai.OpenAI(**settings)  # type: ignore[arg-type]

    def http(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.address, headers={"authorization": f"Bearer {KEY}"}, timeout=60
        )


@contextlib.contextmanager
def running(model: LanguageModel, **kw: int) -> Iterator[Room]:
    """Serve in a thread, by the same server that `serve` runs."""
    desk = Desk(model, MODEL)
    ready = threading.Event()
    addresses: list[str] = []

    def on_ready(address: str) -> None:
        addresses.append(address)
        ready.set()

    with listen("127.0.0.1", 0) as listener:
        server = make_server(app_of(desk, api_key=KEY, **kw), desk, listener, on_ready)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not ready.wait(0.1):
                assert thread.is_alive(), "the server did not start"
            yield Room(addresses[0], model)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def room(folder: Path) -> Iterator[Room]:
    with running(load(folder)) as room:
        yield room


@pytest.fixture(scope="session")
def client(room: Room) -> openai.OpenAI:
    return room.client()
