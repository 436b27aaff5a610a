"""A sealed model, and an adapter tuned on it: the real ones, cria and a short run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import puna
from puna.jobs import Lora, open_base, tune
from puna.tune import Settings

ROWS = Path(__file__).resolve().parents[2] / "examples" / "triage" / "train.jsonl"


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was saved, and so sealed. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("sealed") / "cria"
    puna.load("cria", device="cpu").save(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(sealed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter tuned on that folder, and so sealed. Not to be changed: copy it."""
    return run(sealed, tmp_path_factory.mktemp("run")) / "adapter"


def run(base: Path, out: Path, **fields: object) -> Path:
    """Tune a little and return the run's folder."""
    data = out / "data.jsonl"
    data.write_text("".join(line + "\n" for line in ROWS.read_text().splitlines()[:64]))
    settings = Settings(epochs=2, batch_size=16, **fields)  # type: ignore[arg-type]
    tune(open_base(base, data, device="cpu"), out, lora=Lora(rank=4), settings=settings)
    assert json.loads((out / "adapter" / "puna.seal.json").read_text())["seal"] == 1
    return out
