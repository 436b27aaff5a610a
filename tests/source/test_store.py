"""What is on the disk: listed, shown, removed, and nothing else touched."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from puna.cli import main
from puna.cli.show import out
from puna.errors import FormatError, PunaError, SourceError, StorageError, UsageError
from puna.home import home
from puna.source import inventory, plan_removal, pull, remove, resolve, resolve_adapter
from puna.source.lock import lock_path
from tests.hub import Hub

Files = dict[str, bytes]


def on_disk(folder: Path) -> int:
    """Return the bytes of all blobs in a folder, links not followed."""
    found = [p for p in folder.rglob("blobs/*") if p.is_file() and not p.is_symlink()]
    return sum(path.stat().st_size for path in found)


def everything(folder: Path) -> set[str]:
    """Return the names of all files in a folder, locks left out."""
    return {p.as_posix() for p in folder.rglob("*") if not p.is_dir() and p.suffix != ".lock"}


def test_removing_frees_the_bytes_it_says(hub: Hub, tiny_files: Files) -> None:
    hub.add("org/tiny", tiny_files)
    hub.add("org/other", tiny_files)
    pull("org/other")
    kept = everything(home() / "hub")
    pull("org/tiny")
    before = on_disk(home() / "hub")
    plan = plan_removal("org/tiny")
    remove(plan)
    assert before - on_disk(home() / "hub") == plan.size > 70_000
    assert everything(home() / "hub") == kept
    assert not lock_path("org/tiny").exists()
    with pytest.raises(SourceError, match="puna pull org/tiny"):
        resolve("org/tiny")
    assert resolve("org/other").path.is_dir()
    with pytest.raises(SourceError, match="was not pulled"):
        plan_removal("org/tiny")


def test_what_another_revision_shares_stays(hub: Hub, tiny_files: Files) -> None:
    hub.add("org/tiny", tiny_files, "old")
    pull("org/tiny@old")
    hub.add("org/tiny", {**tiny_files, "README.md": b"a new card"})
    pull("org/tiny")
    assert [item.name for item in inventory()[1:]] == ["org/tiny@old", "org/tiny"]
    plan = plan_removal("org/tiny@old")
    assert plan.size == len(tiny_files["README.md"])
    assert plan.shared > 70_000
    remove(plan)
    source = resolve("org/tiny")
    assert (source.path / "model.safetensors").read_bytes() == tiny_files["model.safetensors"]
    with pytest.raises(SourceError):
        resolve("org/tiny@old")
    remove(plan_removal("org/tiny"))
    assert on_disk(home() / "hub") == 0
    assert not list((home() / "hub").glob("models--*"))


def test_one_gguf_is_removed_and_the_other_stays(hub: Hub) -> None:
    hub.add("org/m", {"m-Q4_0.gguf": b"GGUF4", "m-Q8_0.gguf": b"GGUF8888", "README.md": b"x"})
    for quant in ("Q4_0", "Q8_0"):
        pull("org/m", file=quant)
    plan = plan_removal("org/m:Q8_0")
    assert plan.size == len(b"GGUF8888")
    remove(plan)
    assert resolve("org/m").path.read_bytes() == b"GGUF4"


def test_files_of_the_users_cache_are_not_removed(
    hub: Hub, tiny_files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    cache = tmp_path / "xdg" / "huggingface" / "hub"
    hub.add("org/tiny", tiny_files)
    snapshot_download("org/tiny", cache_dir=cache)
    assert [item.kind for item in inventory()] == ["built in", "hub cache"]
    with pytest.raises(SourceError, match="hf cache rm"):
        plan_removal("org/tiny")
    pull("org/tiny")
    assert [item.kind for item in inventory()] == ["built in", "pulled"]
    before = everything(cache)
    plan = plan_removal("org/tiny")
    assert (plan.size, plan.kept_elsewhere) == (0, (cache,))
    remove(plan)
    assert everything(cache) == before
    assert [item.kind for item in inventory()] == ["built in", "hub cache"]


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for model, says in (
        ("cria", "part of Puna"),
        (str(tmp_path / "model"), "a folder of yours"),
        ("ollama:llama3.2", "ollama rm llama3.2"),
    ):
        with pytest.raises(UsageError, match=says):
            plan_removal(model)
    with pytest.raises(SourceError, match="was not pulled"):
        plan_removal("no such thing")


def test_what_a_broken_pull_left_is_removed(hub: Hub) -> None:
    hub.add("org/m", {"m.gguf": b"GGUF" * 1000})
    hub.faults.sizes["m.gguf"] = 4005
    with pytest.raises(PunaError):
        pull("org/m")
    plan = plan_removal("org/m")
    assert plan.size == 4000
    remove(plan)
    assert not list(home().rglob("*.incomplete"))


def break_off(hub: Hub, repo: str, files: Files) -> None:
    """Pull a model whose weights end in an error after all other files have come."""
    hub.add(repo, files)
    hub.faults.bodies["model.safetensors"] = b"other bytes"
    with pytest.raises(PunaError):
        pull(repo)
    for thread in threading.enumerate():  # the other files, which were under way
        if thread.name == "pull":
            thread.join()
    hub.faults.bodies.clear()


def test_whole_files_of_a_broken_pull_are_removed_too(hub: Hub, tiny_files: Files) -> None:
    break_off(hub, "org/tiny", tiny_files)
    assert on_disk(home() / "hub") > 0
    remove(plan_removal("org/tiny"))
    assert everything(home() / "hub") == set()


def test_whole_files_in_a_cache_of_others_stay(
    hub: Hub, tiny_files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "shared"))
    break_off(hub, "org/tiny", tiny_files)
    plan = plan_removal("org/tiny")
    assert {blob.suffix for blob in plan.blobs} == {".incomplete"}
    remove(plan)
    assert on_disk(tmp_path / "shared") > 0


def test_files_of_a_broken_pull_belong_to_the_one_that_ends_it(hub: Hub, tiny_files: Files) -> None:
    break_off(hub, "org/tiny", tiny_files)
    pull("org/tiny")
    plan = plan_removal("org/tiny")
    assert plan.kept_elsewhere == ()
    remove(plan)
    assert everything(home() / "hub") == set()


def test_a_folder_that_leads_out_of_the_store_is_not_followed(
    hub: Hub, tiny_files: Files, tmp_path: Path
) -> None:
    hub.add("org/tiny", tiny_files)
    folder = pull("org/tiny").source.path
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in folder.iterdir():
        (outside / path.name).write_text("precious")
        path.unlink()
    folder.rmdir()
    folder.symlink_to(outside)
    with pytest.raises(StorageError, match="leads out of it"):
        remove(plan_removal("org/tiny"))
    assert {p.read_text() for p in outside.iterdir()} == {"precious"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2, not 1"),
        ({"repo": "org/other"}, "it is of 'org/other'"),
        ({"commits": []}, "is missing"),
        ({"revisions": {"main": "0" * 40}}, "names a commit that is not there"),
    ],
)
def test_a_lock_file_that_cannot_be(
    hub: Hub, tiny_files: Files, change: dict[str, object], says: str
) -> None:
    hub.add("org/tiny", tiny_files)
    pull("org/tiny")
    path = lock_path("org/tiny")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match=says):
        resolve("org/tiny")


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "a/../../b", "CON"])
def test_a_lock_file_that_climbs(hub: Hub, tiny_files: Files, name: str) -> None:
    commit = hub.add("org/tiny", tiny_files)
    pull("org/tiny")
    path = lock_path("org/tiny")
    value = json.loads(path.read_text())
    value["commits"][commit]["files"][name] = value["commits"][commit]["files"].pop("LICENSE")
    path.write_text(json.dumps(value))
    for act in (resolve, plan_removal):
        with pytest.raises(FormatError):
            act("org/tiny")


def test_the_commands(
    hub: Hub, tiny_files: Files, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hub.add("org/tiny", tiny_files, license="cc-by-4.0")
    main(["pull", "org/tiny"])
    assert "org/tiny at " in capsys.readouterr().out
    main(["list"])
    table = capsys.readouterr().out
    assert "cria" in table
    assert "cc-by-4.0" in table
    main(["list", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["cria", "org/tiny"]
    assert rows[1]["size"] == sum(
        len(tiny_files[n]) for n in ("config.json", "model.safetensors", "README.md", "LICENSE")
    )
    main(["show", "org/tiny", "--json", "--verify"])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["family"], facts["parameters"]) == ("llama", 17_888)
    assert facts["license"] == "cc-by-4.0"
    assert len(facts["files"]) == 4
    main(["show", "olmo-1b", "--json"])
    known = json.loads(capsys.readouterr().out)
    assert known["here"] is False
    assert "Dolma" in known["catalog"]["data"]
    main(["show", "zephyr"])
    told = capsys.readouterr().out
    assert "mistralai/Mistral-7B-v0.1" in told
    assert "UltraFeedback" in told
    with pytest.raises(SystemExit):
        main(["show", "no-such-model"])
    assert "catalog" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["rm", "org/tiny"])
    assert "pass --yes" in capsys.readouterr().err
    main(["rm", "org/tiny", "--yes", "--json"])
    assert json.loads(capsys.readouterr().out)["freed"] == rows[1]["size"]
    main(["list", "--catalog", "--json"])
    assert len(json.loads(capsys.readouterr().out)) > 50


def test_files_of_weights_are_opened_by_their_own_name(tmp_path: Path) -> None:
    import puna
    from tests.unit.tiny import save_tiny

    save_tiny(tmp_path, seed=1)
    first = puna.load(tmp_path).logits([1, 2])
    (tmp_path / "model.safetensors").rename(tmp_path / "first.safetensors")
    save_tiny(tmp_path, seed=2)
    named = puna.load(tmp_path / "first.safetensors")
    assert named.logits([1, 2]).equal(first)
    assert not puna.load(tmp_path / "model.safetensors").logits([1, 2]).equal(first)
    assert resolve(tmp_path / "model.safetensors").weights is None
    (tmp_path / "config.json").unlink()
    with pytest.raises(SourceError, match=r"without a config\.json"):
        resolve(tmp_path / "model.safetensors")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert resolve(tmp_path / "x.gguf").path == tmp_path / "x.gguf"
    assert resolve(str(tmp_path / "x.gguf")).kind == "file"


def test_adapters_by_id(hub: Hub, tiny_files: Files) -> None:
    hub.add("org/lora", {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"})
    hub.add("org/tiny", tiny_files)
    for name in ("org/lora", "org/tiny"):
        with pytest.raises(SourceError, match=f"puna pull {name}"):
            resolve_adapter(name)
        pull(name)
    assert set(os.listdir(resolve_adapter("org/lora").path)) == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    with pytest.raises(SourceError, match=r"is no adapter: it holds no adapter_config\.json"):
        resolve_adapter("org/tiny")
    with pytest.raises(SourceError, match=r"is an adapter, not a model(?s:.)*--adapter org/lora"):
        resolve("org/lora")


@pytest.mark.parametrize(("width", "all_fits"), [(80, False), (120, True)])
def test_a_long_name_stays_whole_in_the_list(
    hub: Hub,
    tiny_files: Files,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    all_fits: bool,
) -> None:
    name = "An-Organization/A-Model-1.7B-Instruct"
    commit = hub.add(name, tiny_files)
    pull(name)
    monkeypatch.setattr(out, "width", width)
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if name in line)
    head = next(line for line in lines if "license" in line)
    assert "apache-2.0" in row
    assert set(head.split()) <= {"model", "from", "size", "license", "revision", "pulled"}
    assert max(len(line.rstrip()) for line in lines if not line.startswith("kept in")) <= width
    assert (commit[:8] in row) == ("pulled" in head) == all_fits
