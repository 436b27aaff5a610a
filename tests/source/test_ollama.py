"""Ollama's store: parts, names, digests, and stores that a newer tool wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from puna.cli import main
from puna.errors import FormatError, PunaError, SourceError
from puna.source import inventory, resolve, verify_source
from tests.source.store import TYPE, write_model

TEMPLATE = "{{ if .System }}<|system|>{{ .System }}{{ end }}{{ .Prompt }}"
PARTS = (
    ("model", b"GGUF model" * 100),
    ("template", TEMPLATE.encode()),
    ("system", b"You are a llama."),
    ("params", b'{"stop": ["<|eot_id|>", "</s>"], "temperature": 0.6, "num_ctx": 4096}'),
    ("messages", b'[{"role": "user", "content": "hi"}]'),
    ("license", b"LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nRelease Date: 25 September 2024\n"),
    ("license", b"Acceptable use\n"),
    ("adapter", b"GGUF adapter"),
    ("projector", b"GGUF eyes"),
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the store that OLLAMA_MODELS names, with one model of every part."""
    folder = tmp_path / "ollama"
    write_model(folder, parts=PARTS)
    return folder


@pytest.mark.parametrize(
    "name", ["llama3.2", "ollama:llama3.2", "ollama://llama3.2:latest", "ollama:library/llama3.2"]
)
def test_every_part_is_delivered(store: Path, name: str) -> None:
    source = resolve(name)
    assert (source.kind, source.name) == ("ollama", "llama3.2:latest")
    assert source.path.read_bytes() == b"GGUF model" * 100
    assert source.license == "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT"
    model = source.ollama
    assert model is not None
    assert model.template == TEMPLATE
    assert model.system == "You are a llama."
    assert model.params == {"stop": ["<|eot_id|>", "</s>"], "temperature": 0.6, "num_ctx": 4096}
    assert model.messages == ({"role": "user", "content": "hi"},)
    assert len(model.licenses) == 2
    assert [path.read_bytes() for path in model.adapters] == [b"GGUF adapter"]
    assert (model.family, model.quant, model.renderer) == ("llama", "Q4_K_M", "")
    assert source.files is not None
    assert len(source.files) == 8  # all but the projector
    verify_source(source)


def test_names_of_other_places(tmp_path: Path) -> None:
    store = tmp_path / "ollama"
    write_model(store, "hf.co/bartowski/Llama-3.2-1B-GGUF/Q4_K_M")
    write_model(store, "registry.ollama.ai/mannix/tiny/1b")
    assert resolve("ollama:hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M").path.is_file()
    assert resolve("ollama:mannix/tiny:1b").name == "mannix/tiny:1b"
    assert [item.name for item in inventory()][1:] == [
        "ollama:hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M",
        "ollama:mannix/tiny:1b",
    ]
    with pytest.raises(SourceError, match=r"mannix/tiny:1b"):
        resolve("ollama:mannix/tiny")
    for name in ("../../../etc/passwd", "a:../../b", "a/b/c/d", "", "..", "a b"):
        with pytest.raises(SourceError):
            resolve(f"ollama:{name}")


def test_blobs_of_older_versions(store: Path) -> None:
    for path in (store / "blobs").iterdir():
        path.rename(path.with_name(path.name.replace("-", ":")))
    assert resolve("llama3.2").path.read_bytes() == b"GGUF model" * 100


def test_a_changed_blob_is_noticed(store: Path) -> None:
    import puna

    path = resolve("llama3.2").path
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"changed(?s:.)*ollama pull llama3\.2:latest"):
        verify_source(resolve("llama3.2"))
    with pytest.raises(SourceError, match="changed"):
        puna.load("llama3.2")
    path.write_bytes(bytes(data[:-1]))
    with pytest.raises(SourceError, match="missing or cut short"):
        resolve("llama3.2")
    path.unlink()
    with pytest.raises(SourceError, match="missing or cut short"):
        resolve("llama3.2")


NEWER: list[tuple[dict[str, Any], str]] = [
    ({"schemaVersion": 3}, "schemaVersion 3"),
    ({"mediaType": "application/vnd.ollama.manifest.v9+json"}, "manifest.v9"),
    ({"parts": (("model", b"G"), ("thoughts", b"x"))}, "a layer of type 'thoughts'"),
    ({"parts": (("model", b"G"), ("application/x-new", b"x"))}, "type 'application/x-new'"),
]


@pytest.mark.parametrize(("changes", "says"), NEWER)
def test_a_store_of_a_newer_version_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = write_model(tmp_path / "ollama", **changes)
    with pytest.raises(FormatError, match=says) as caught:
        resolve("llama3.2")
    assert "newer version of Ollama" in str(caught.value)
    assert str(path) in str(caught.value)
    assert [item.name for item in inventory()][1:] == ["ollama:llama3.2:latest"]


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"layers": None}, "no layers"),
    ({"layers": [5]}, "no object"),
    ({"layers": [{"mediaType": TYPE + "model", "digest": "../../x", "size": 1}]}, "digest"),
    ({"layers": [{"mediaType": TYPE + "model", "digest": "sha256:" + "0" * 64}]}, "size None"),
    ({"layers": []}, "0 models"),
    ({"config": {}}, "digest None"),
    ({"parts": (("model", b"G"), ("model", b"H"))}, "2 models"),
    ({"parts": (("model", b"G"), ("params", b"[1]"))}, "must be a JSON object"),
    ({"parts": (("model", b"G"), ("messages", b"{}"))}, "no list of objects"),
    ({"parts": (("model", b"G"), ("template", b"\xff"))}, "not UTF-8"),
    ({"parts": (("tensor", b"G"),)}, "stored as 'single tensors'"),
    ({"config_": {"model_format": "safetensors"}}, "stored as 'safetensors'"),
    ({"config_": {"remote_host": "https://ollama.com"}}, r"runs at https://ollama\.com"),
]


@pytest.mark.parametrize(("changes", "says"), BROKEN)
def test_a_broken_store_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    changes = dict(changes)
    about = changes.pop("config_", None)
    if "config" in changes:
        path = write_model(tmp_path / "ollama", parts=changes.pop("parts", (("model", b"G"),)))
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    else:
        write_model(tmp_path / "ollama", config=about, **changes)
    with pytest.raises(PunaError, match=says) as caught:
        resolve("llama3.2")
    assert len(str(caught.value).splitlines()) <= 3


def test_the_commands_know_the_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert "ollama:llama3.2:latest" in capsys.readouterr().out
    main(["show", "ollama:llama3.2", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["ollama"]["params"]["temperature"] == 0.6
    assert facts["ollama"]["template"] == TEMPLATE
    with pytest.raises(SystemExit):
        main(["rm", "llama3.2"])
    assert "ollama rm llama3.2" in capsys.readouterr().err
