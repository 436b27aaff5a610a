"""Pulling: only what is needed, pinned, checked, found again without a connection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import puna
from puna.errors import SourceError, UsageError
from puna.home import home
from puna.source import pull, resolve
from puna.source.lock import lock_path, read_lock
from tests.hub import Hub, sha256
from tests.source.conftest import Puna, said

NEEDED = {"config.json", "model.safetensors", "README.md", "LICENSE"}


def test_a_pull_brings_what_is_needed_and_locks_it(
    hub: Hub, puna: Puna, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    commit = hub.add("org/tiny", tiny_files)
    done = puna("pull", "org/tiny", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["revision"] == commit
    assert facts["files"] == {name: sha256(tiny_files[name]) for name in NEEDED}
    folder = Path(facts["path"])
    assert {p.name for p in folder.iterdir()} == NEEDED
    for name in NEEDED:
        assert (folder / name).read_bytes() == tiny_files[name]
    lock = json.loads(lock_path("org/tiny").read_text())
    assert lock["revisions"] == {"main": commit}
    locked = lock["commits"][commit]
    assert locked["license"] == "apache-2.0"
    assert locked["endpoint"] == hub.endpoint
    assert locked["pulled"].endswith("+00:00")
    size = len(tiny_files["model.safetensors"])
    assert locked["files"]["model.safetensors"]["size"] == size
    # All state lies in PUNA_HOME: the library wrote nothing into the user's home.
    assert not (tmp_path / "home").exists() or not any((tmp_path / "home").rglob("*"))
    assert not any("agent" in path or "telemetry" in path for _, path, _ in hub.asked)


def test_what_was_pulled_opens_and_a_second_pull_fetches_nothing(
    hub: Hub, tiny_files: dict[str, bytes]
) -> None:
    commit = hub.add("org/tiny", tiny_files)
    with pytest.raises(SourceError, match=r"puna pull org/tiny"):
        puna.load("org/tiny")
    lm = puna.load("org/tiny", pull=True)
    assert lm.parts.source.revision == commit
    assert lm.parts.source.name == "org/tiny"
    assert len(lm.generate((1, 2, 3), max_tokens=4).ids) <= 4
    sent = hub.sent
    assert pull("org/tiny").fetched == 0
    assert hub.sent == sent
    hub.close()
    assert puna.load("org/tiny").spec == lm.spec


def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    hub: Hub, puna: Puna, tiny_files: dict[str, bytes]
) -> None:
    hub.token = "secret"
    hub.add("org/private", tiny_files, private=True)
    assert "private" in said(puna("pull", "org/private"))
    hub.asked.clear()
    assert puna("pull", "org/private", HF_TOKEN="secret").returncode == 0
    for _, path, headers in hub.asked:
        sent = {key.lower(): value for key, value in headers.items()}
        assert ("authorization" in sent) == (not path.startswith("/storage/")), path
    assert any(path.startswith("/storage/") for _, path, _ in hub.asked)


def test_revisions_are_pinned(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    first = hub.add("org/tiny", tiny_files)
    hub.add("org/tiny", tiny_files, "v1/tag")
    pull("org/tiny")
    second = hub.add("org/tiny", {**tiny_files, "README.md": b"---\nlicense: mit\n---\nNew"})
    assert first != second
    assert resolve("org/tiny").revision == first
    assert pull("org/tiny").fetched == len(b"---\nlicense: mit\n---\nNew")
    assert resolve("org/tiny").revision == second
    for name in (first, first[:10]):
        assert resolve(f"org/tiny@{name}").revision == first
    tagged = pull("org/tiny@v1/tag").source
    assert resolve("org/tiny@v1/tag").revision == tagged.revision
    assert set(read_lock("org/tiny").revisions) == {"main", "v1/tag"}
    with pytest.raises(SourceError, match="no revision 'v2'"):
        pull("org/tiny@v2")
    with pytest.raises(SourceError, match=r"puna pull org/tiny@v2"):
        resolve("org/tiny@v2")


def test_weights_in_shards_and_in_pickles(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "deep/model-2.safetensors"}}
    small = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()}
    shards = {"model-1.safetensors": b"one", "deep/model-2.safetensors": b"two"}
    other = {"model-3.safetensors": b"of another model", "pytorch_model.bin": b"old"}
    hub.add("org/shards", {**small, **shards, **other})
    assert set(pull("org/shards").source.files or ()) == {*small, *shards}
    hub.add("org/pickle", {"config.json": b"{}", "pytorch_model.bin": b"old", "model.h5": b""})
    assert set(pull("org/pickle").source.files or ()) == {"config.json", "pytorch_model.bin"}
    hub.add("org/none", {"config.json": b"{}", "model.h5": b""})
    with pytest.raises(SourceError, match="no weights that can be read"):
        pull("org/none")
    hub.add("org/missing", {**small, "model-1.safetensors": b"one"})
    with pytest.raises(SourceError, match=r"not there: 'deep/model-2\.safetensors'"):
        pull("org/missing")


def test_one_gguf_of_many_is_picked(hub: Hub) -> None:
    files = {
        "m-Q4_K_M.gguf": b"GGUF four",
        "m-Q4_K_S.gguf": b"GGUF small",
        "m-Q8_0-00001-of-00002.gguf": b"GGUF eight",
        "m-Q8_0-00002-of-00002.gguf": b"GGUF more",
        "mmproj-m-f16.gguf": b"GGUF eyes",
        "README.md": b"hello",
    }
    hub.add("org/m-gguf", files)
    with pytest.raises(SourceError, match=r"3 GGUF models(?s:.)*m-Q4_K_M\.gguf \(9 B\)"):
        pull("org/m-gguf")
    with pytest.raises(UsageError, match="no GGUF files here are 'Q5_0'"):
        pull("org/m-gguf", file="Q5_0")
    four = pull("org/m-gguf", file="q4_k_m").source
    assert four.path.read_bytes() == b"GGUF four"
    assert set(four.files or ()) == {"m-Q4_K_M.gguf", "README.md"}
    assert resolve("org/m-gguf").path == four.path  # the only one that is here
    eight = pull("org/m-gguf:Q8_0").source
    assert eight.path.name == "m-Q8_0-00001-of-00002.gguf"
    assert set(eight.files or ()) == {
        "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "README.md",
    }  # fmt: skip
    with pytest.raises(SourceError, match=r"name one: org/m-gguf:m-Q4_K_M\.gguf"):
        resolve("org/m-gguf")
    assert resolve("org/m-gguf:Q4_K_M").path == four.path
    with pytest.raises(SourceError, match=r"puna pull org/m-gguf --file Q4_K_S"):
        resolve("org/m-gguf:Q4_K_S")


def test_a_short_name_of_the_catalog(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    hub.add("HuggingFaceTB/SmolLM2-1.7B-Instruct", tiny_files)
    with pytest.raises(SourceError, match=r"smollm2 is HuggingFaceTB/(?s:.)*puna pull smollm2"):
        resolve("smollm2")
    pull("smollm2")
    assert resolve("smollm2").name == "HuggingFaceTB/SmolLM2-1.7B-Instruct"


def test_the_users_cache_is_used_without_a_download(
    hub: Hub, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The library itself fills its cache; Puna finds the model there and fetches nothing."""
    from huggingface_hub import snapshot_download

    cache = tmp_path / "users" / "hub"
    commit = hub.add("org/tiny", tiny_files)
    snapshot_download("org/tiny", cache_dir=cache, allow_patterns=sorted(NEEDED))
    with pytest.raises(SourceError):
        resolve("org/tiny")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg").mkdir()
    (tmp_path / "xdg" / "huggingface").symlink_to(tmp_path / "users")
    found = resolve("org/tiny")
    assert found.revision == commit
    assert found.files is not None
    assert found.files["model.safetensors"] == sha256(tiny_files["model.safetensors"])
    assert puna.load("org/tiny").spec.family == "llama"
    sent = hub.sent
    pulled = pull("org/tiny")
    assert (pulled.fetched, hub.sent) == (0, sent)
    assert pulled.source.path.is_relative_to(tmp_path / "xdg")
    assert not (home() / "hub").exists()


def test_other_tools_find_what_was_pulled(
    hub: Hub, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With HF_HOME set, models go into that cache, whose layout the library reads."""
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    commit = hub.add("org/tiny", tiny_files)
    source = pull("org/tiny").source
    assert source.path.is_relative_to(tmp_path / "hf" / "hub")
    found = try_to_load_from_cache("org/tiny", "model.safetensors", cache_dir=tmp_path / "hf/hub")
    assert found == str(source.path / "model.safetensors")
    seen = scan_cache_dir(tmp_path / "hf" / "hub")
    assert not seen.warnings
    (repo,) = seen.repos
    assert {revision.commit_hash for revision in repo.revisions} == {commit}
    assert lock_path("org/tiny").is_relative_to(home())


def test_a_changed_file_is_noticed_at_load(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    hub.add("org/tiny", tiny_files)
    source = pull("org/tiny").source
    weights = source.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"model\.safetensors of org/tiny changed"):
        puna.load("org/tiny")
    assert pull("org/tiny").fetched == len(data)
    assert weights.read_bytes() == tiny_files["model.safetensors"]
    weights.unlink()
    with pytest.raises(SourceError, match=r"is missing(?s:.)*puna pull org/tiny"):
        puna.load("org/tiny")


def test_a_large_file_is_hashed_once_and_again_when_it_changed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from puna.source import digest, verify_source

    hub.add("org/big", {"config.json": b"{}", "model.safetensors": b"\0" * (3 << 20)})
    source = pull("org/big").source
    hashed: list[str] = []
    real = digest.hash_file
    monkeypatch.setattr(
        digest, "hash_file", lambda path, *rest: (hashed.append(path.name), real(path, *rest))[1]
    )
    verify_source(source)
    assert "model.safetensors" not in hashed
    weights = source.path / "model.safetensors"
    weights.touch()
    verify_source(source)
    verify_source(source)
    assert hashed.count("model.safetensors") == 1
    with weights.open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(SourceError, match="changed"):
        verify_source(source)
