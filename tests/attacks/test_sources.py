"""Hostile manifests and lock files: each is refused in three lines, and no file outside is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from puna.cli import main
from puna.errors import FormatError, PunaError, SourceError
from puna.source import plan_removal, resolve
from puna.source.lock import lock_path
from tests.source.store import write_model

HERE = Path(__file__).parent
LOCKS = sorted((HERE / "locks").glob("*.json"))
MANIFESTS = sorted((HERE / "ollama").glob("*.json"))


def _refused(error: PunaError, path: Path) -> None:
    text = str(error)
    assert len(text.splitlines()) <= 3
    assert len(text) < 700
    assert str(path) in text


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_hostile_locks(file: Path) -> None:
    path = lock_path("org/tiny")
    path.parent.mkdir(parents=True)
    path.write_bytes(file.read_bytes())
    for act in (resolve, plan_removal):
        with pytest.raises(FormatError) as caught:
            act("org/tiny")
        _refused(caught.value, path)
    with pytest.raises(SystemExit):
        main(["list"])


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_hostile_manifests(file: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "ollama")
    path.write_bytes(file.read_bytes())
    blob = tmp_path / "ollama" / "blobs" / ("sha256-" + "0" * 64)
    if file.stem != "blob_missing":
        blob.write_bytes(b"GGUF")
    with pytest.raises((FormatError, SourceError)) as caught:
        resolve("llama3.2")
    _refused(caught.value, blob if str(blob) in str(caught.value) else path)
    main(["list"])  # one bad model does not hide the others
