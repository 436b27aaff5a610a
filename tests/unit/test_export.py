"""`puna export`, and every command that takes a model on what it wrote."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import puna
from puna.errors import AdapterError, StorageError
from puna.formats import read_gguf
from puna.generate import LanguageModel
from puna.loading import load_parts
from puna.package import export_gguf
from puna.source import OllamaModel, resolve
from tests.source.store import write_model
from tests.unit.test_cli import error, run
from tests.unit.tiny import save_tiny


def test_a_gguf_and_what_it_says_about_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "cria.gguf"
    told = json.loads(run(capsys, "export", "cria", "--out", str(path), "--type", "q8_0", "--json"))
    assert told["bytes"] == path.stat().st_size
    assert told["types"] == {"Q8_0": 2_883_584, "F32": 2_304}
    facts = json.loads(run(capsys, "inspect", str(path), "--json"))
    assert facts["parameters"] == 2_885_888
    assert facts["license"] == "apache-2.0"
    assert facts["gguf"]["types"] == told["types"]
    assert facts["gguf"]["pre_tokenizer"] == "smollm"
    assert facts["gguf"]["chat_template"] is True
    table = run(capsys, "inspect", str(path))
    assert "Q8_0 99.9%" in table
    assert "apache-2.0" in table


def test_a_folder_from_a_gguf_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", hidden_size=64)
    once = tmp_path / "once.gguf"
    run(capsys, "export", str(tmp_path / "model"), "--out", str(once), "--type", "f32")
    folder = tmp_path / "folder"
    argv = ("export", str(once), "--out", str(folder), "--format", "safetensors", "--type", "f32")
    facts = json.loads(run(capsys, *argv, "--json"))
    assert facts["bytes"] == (folder / "model.safetensors").stat().st_size
    before, after = (load_parts(p, device="cpu") for p in (tmp_path / "model", folder))
    assert before.spec == after.spec
    pairs = zip(before.model.parameters(), after.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    argv = ("export", str(folder), "--out", str(once), "--type", "q4_0")
    with pytest.raises(SystemExit):
        run(capsys, *argv)  # random weights do not survive four bits
    assert "choose a finer type" in capsys.readouterr().err
    table = run(capsys, *argv, "--ignore-key", "seal")
    assert "Q4_0" in table


def test_scoring_needs_no_tokenizer(tmp_path: Path) -> None:
    """A file made for ids alone opens, and its logits are those of the folder."""
    save_tiny(tmp_path / "model")
    export_gguf(load_parts(tmp_path / "model"), tmp_path / "m.gguf", "f32")
    assert read_gguf(tmp_path / "m.gguf").metadata["tokenizer.ggml.model"] == "no_vocab"
    assert puna.load(tmp_path / "m.gguf").parts.text.tokenizer is None


def test_refusals_of_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "x.gguf")
    said = error(
        capsys, "export", "cria", "--out", out, "--format", "safetensors", "--type", "q8_0"
    )
    assert "choose f32, f16 or bf16" in said
    assert "q9_0" in error(capsys, "export", "cria", "--out", out, "--type", "q9_0")
    assert "--out" in error(capsys, "export", "cria")
    (tmp_path / "folder").mkdir()
    said = error(capsys, "export", "cria", "--out", str(tmp_path / "folder"))
    assert "cannot write folder" in said
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


class FullDisk:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, part: Any) -> int:
        self._room -= len(part)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(part))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 100, 200_000, 3_000_000])
def test_a_disk_that_fills_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"the old file")
    parts = load_parts("cria", device="cpu")
    fdopen = os.fdopen
    monkeypatch.setattr(
        "puna.formats.atomic.os.fdopen", lambda fd, mode: FullDisk(fdopen(fd, mode), room)
    )
    with pytest.raises(StorageError, match="No space left"):
        export_gguf(parts, path, "bf16")
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_progress_runs_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = export_gguf(
        load_parts("cria"), tmp_path / "m.gguf", progress=lambda *at: seen.append(at)
    )
    assert seen[-1] == (done.bytes, done.bytes)
    assert seen == sorted(seen)


def test_an_export_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_gguf(load_parts("cria"), tmp_path / "m.gguf", progress=stop)
    assert not list(tmp_path.iterdir())


def test_blocks_are_not_rounded_on_their_way_into_another_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    packed, plain, folder = tmp_path / "q4.gguf", tmp_path / "f32.gguf", tmp_path / "folder"
    run(capsys, "export", "cria", "--out", str(packed), "--type", "q4_0")
    run(capsys, "export", str(packed), "--out", str(plain), "--type", "f32")
    argv = ("export", str(packed), "--out", str(folder), "--format", "safetensors")
    run(capsys, *argv, "--type", "f32")
    values = load_parts(packed, dtype="float32", device="cpu").model.state_dict()
    for written in (plain, folder):
        again = load_parts(written, device="cpu").model.state_dict()
        assert all(torch.equal(value, again[name]) for name, value in values.items())


def test_a_template_in_gos_language_is_not_written_as_jinja(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_gguf(load_parts("cria", device="cpu"), tmp_path / "cria.gguf", "q8_0")
    go = b"{{ .System }}|{{ .Prompt }}>"
    model = (tmp_path / "cria.gguf").read_bytes()
    write_model(tmp_path / "store", parts=(("model", model), ("template", go)))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    folder = tmp_path / "folder"
    run(capsys, "export", "llama3.2", "--out", str(folder), "--format", "safetensors")
    messages = tmp_path / "messages.json"
    messages.write_text('[{"role": "user", "content": "hi"}]')
    for name in ("llama3.2", str(folder)):
        assert json.loads(run(capsys, "render", name, str(messages), "--json"))["text"] == "|hi>"


def test_what_a_store_keeps_beside_its_file_is_said(tmp_path: Path) -> None:
    parts = load_parts("cria", device="cpu")
    kept = OllamaModel(system="Speak plainly.", params={"stop": ["x"]})
    source = dataclasses.replace(parts.source, ollama=kept)
    done = export_gguf(dataclasses.replace(parts, source=source), tmp_path / "x.gguf", "bf16")
    assert done.notes[-1].endswith("does not hold: system message, parameters")
    assert not export_gguf(parts, tmp_path / "x.gguf", "bf16").notes


def test_what_a_store_says_first_comes_before_a_conversation(tmp_path: Path) -> None:
    parts = load_parts("cria", device="cpu")
    said = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    kept = OllamaModel(system="Speak plainly.", messages=said)
    stored = dataclasses.replace(parts.source, ollama=kept)
    plain, led = LanguageModel(parts), LanguageModel(dataclasses.replace(parts, source=stored))
    system, ask = {"role": "system", "content": "Speak plainly."}, {"role": "user", "content": "x"}
    own = {"role": "system", "content": "Sing."}
    assert led.render([ask]) == plain.render([system, *said, ask])
    assert led.render([own, ask]) == plain.render([own, *said, ask])


def test_a_store_with_an_adapter_of_its_own_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = dataclasses.replace(
        resolve("cria"), ollama=OllamaModel(adapters=(tmp_path / "lora.gguf",))
    )
    monkeypatch.setattr("puna.loading.resolve", lambda _: source)
    with pytest.raises(AdapterError, match="has an adapter in GGUF"):
        load_parts("anything", device="cpu")
