"""Adapters beside models: by id, on the base they name, merged, pushed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import puna
from puna.adapter import attach, write_adapter
from puna.cli import main
from puna.errors import AdapterError, SourceError, UsageError
from puna.families import name_table
from puna.source import Source, compare_base, plan_push, pull, push
from tests.hub import Hub
from tests.source.conftest import Puna, said
from tests.unit.tiny import save_tiny, tiny

Files = dict[str, bytes]


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """Return the folder of an adapter for the tiny model, with updates large enough to matter."""
    import torch

    spec, model = tiny()
    slot = attach(model, name_table(spec), rank=2, alpha=8)
    for name, parameter in model.named_parameters():
        if ".updates." in name:
            parameter.data = torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(5)
            )
    folder = tmp_path / "lora"
    write_adapter(folder, model, slot, name_table(spec), base="org/tiny")
    return folder


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_model_and_adapter_by_id_give_what_folders_give(
    hub: Hub, tiny_files: Files, lora: Path, tmp_path: Path
) -> None:
    save_tiny(tmp_path / "tiny")
    expected = puna.load(tmp_path / "tiny", adapter=lora).logits([1, 2, 3])
    plain = puna.load(tmp_path / "tiny").logits([1, 2, 3])
    assert not expected.allclose(plain, atol=1e-2)
    hub.add("org/tiny", tiny_files)
    hub.add("org/lora", _files(lora))
    with pytest.raises(SourceError, match=r"no adapter 'org/lora'(?s:.)*puna pull org/lora"):
        puna.load(tmp_path / "tiny", adapter="org/lora")
    both = puna.load("org/tiny", adapter="org/lora", pull=True)
    assert both.logits([1, 2, 3]).equal(expected)
    assert both.parts.notes == ()


def _source(name: str, kind: str = "hub") -> Source:
    return Source(name, Path("nowhere"), kind=kind)  # type: ignore[arg-type]


def test_another_base_is_remarked_and_a_proven_one_refused(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    adapter = Source("lora", tmp_path)

    def told(stated: object, model: Source, insist: bool = True) -> str | None:
        config.write_text(json.dumps({"base_model_name_or_path": stated}))
        return compare_base(adapter, model, insist=insist)

    llama2 = "meta-llama/Llama-2-7b-hf"
    assert told(llama2, _source(llama2)) is None
    assert told(llama2, _source("Llama-2-7b-hf", "folder")) is None
    assert told("/data/models/llama-2-7b-hf/", _source(llama2)) is None
    assert told("", _source(llama2)) is None
    assert told(None, _source(llama2)) is None
    remark = told("unsloth/other", _source(llama2))
    assert remark == f"the adapter was made for unsloth/other, and the model is {llama2}"
    assert "my-folder" in str(told(llama2, _source("my-folder", "folder")))
    with pytest.raises(AdapterError, match=r"huggyllama/llama-7b(?s:.)*--ignore-key base_model"):
        told("huggyllama/llama-7b", _source(llama2))
    assert told("huggyllama/llama-7b", _source(llama2), insist=False)


def test_a_wrong_base_of_the_same_shape_is_not_opened(
    hub: Hub, tiny_files: Files, lora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("meta-llama/Llama-2-7b-hf", tiny_files)
    pull("meta-llama/Llama-2-7b-hf")
    config = json.loads((lora / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "huggyllama/llama-7b"
    (lora / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="was made for huggyllama/llama-7b"):
        puna.load("meta-llama/Llama-2-7b-hf", adapter=lora)
    open_ = puna.load("llama2-7b", adapter=lora, ignore_keys=["base_model_name_or_path"])
    assert "huggyllama/llama-7b" in open_.parts.notes[0]
    config["base_model_name_or_path"] = "somebody/else"
    (lora / "adapter_config.json").write_text(json.dumps(config))
    arguments = ["generate", "llama2-7b", "--adapter", str(lora), "--prompt", "x"]
    with pytest.raises(SystemExit):  # it has no tokenizer
        main(arguments)
    assert "the adapter was made for somebody/else" in capsys.readouterr().err


def test_merge_saves_what_the_two_were(
    lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / "LICENSE").write_text("MIT License\nCopyright")
    both = puna.load(tmp_path / "tiny", adapter=lora).logits([1, 2, 3])
    arguments = ["merge", str(tmp_path / "tiny"), "--adapter", str(lora), "--out"]
    main([*arguments, str(tmp_path / "merged"), "--json"])
    said_ = json.loads(capsys.readouterr().out)
    assert said_["base"] == "tiny"
    merged = puna.load(tmp_path / "merged")
    assert merged.logits([1, 2, 3]).allclose(both, atol=1e-5)
    assert merged.parts.adapter is None
    assert (tmp_path / "merged" / "LICENSE").read_text() == "MIT License\nCopyright"
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "base_model: tiny" in card
    assert "license: MIT License Copyright (LICENSE)" in card
    with pytest.raises(SystemExit):
        main([*arguments, str(tmp_path / "merged")])
    assert "is not empty" in capsys.readouterr().err


def test_merge_keeps_tokenizer_and_template(tmp_path: Path) -> None:
    from puna.jobs import merge_adapter

    cria = puna.load("cria")
    parts = cria.parts
    slot = attach(parts.model, parts.table, rank=1, alpha=1)
    write_adapter(tmp_path / "lora", parts.model, slot, parts.table, base="cria")
    merged = puna.load(merge_adapter("cria", tmp_path / "lora", tmp_path / "out").folder)
    talk = [{"role": "user", "content": "What do llamas eat?"}]
    assert merged.render(talk) == cria.render(talk)
    assert (tmp_path / "out" / "generation_config.json").is_file()


def test_a_push_comes_back_equal(
    hub: Hub, puna: Puna, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    save_tiny(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nMine")
    (folder / "deep").mkdir()
    (folder / "deep" / "note.txt").write_text("kept")
    (folder / "state").mkdir()
    for name in (".env", "state/step.pt", ".model.abc.part", "run.json", "x.tmp"):
        (folder / name).write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "outside")
    plan = plan_push(folder)
    sent = {"config.json", "model.safetensors", "README.md", "deep/note.txt"}
    assert {name for name, _ in plan.files} == sent
    assert {name for name, _ in plan.left_out} == {
        ".env", "state/step.pt", ".model.abc.part", "run.json", "x.tmp", "link.txt",
    }  # fmt: skip
    hub.token = "secret"
    assert "a push needs a token" in said(puna("push", str(folder), "me/model", "--yes"))
    assert "pass --yes" in said(puna("push", str(folder), "me/model", HF_TOKEN="secret"))
    dry = puna("push", str(folder), "me/model", "--dry-run", "--json", HF_TOKEN="secret")
    assert json.loads(dry.stdout)["pushed"] is False
    assert hub.repos == {}
    done = puna("push", str(folder), "me/model", "--yes", "--json", HF_TOKEN="secret")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["address"] == f"{hub.endpoint}/me/model"
    repo = hub.repos["me/model"]
    assert repo.private
    files = repo.commits[repo.revisions["main"]]
    assert {name: files[name] for name in sent} == {n: (folder / n).read_bytes() for n in sent}
    assert set(files) == sent | {".gitattributes"}
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert pull("me/model").source.license == "apache-2.0"


def test_a_push_keeps_the_card_and_asks_before_it_is_public(
    hub: Hub, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.add("me/lora", {"README.md": b"my card"})
    with pytest.raises(UsageError, match=r"me/lora is public(?s:.)*--public"):
        push(plan_push(lora), "me/lora")
    _, commit = push(plan_push(lora), "me/lora", public=True)
    assert hub.repos["me/lora"].commits[commit]["README.md"] == b"my card"
    assert "adapter_model.safetensors" in hub.repos["me/lora"].commits[commit]


def test_what_is_no_model_is_not_pushed(tmp_path: Path, lora: Path) -> None:
    with pytest.raises(SourceError, match="no folder"):
        plan_push(tmp_path / "none")
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="holds no model"):
        plan_push(tmp_path / "run")
    lora.rename(tmp_path / "run" / "adapter")
    with pytest.raises(UsageError, match=r"push .*run/adapter"):
        plan_push(tmp_path / "run")
