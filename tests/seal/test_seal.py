"""The record itself, where it travels, and that nothing is ever sealed as something else."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import puna
from puna.cli.app import main
from puna.errors import FormatError, PunaError, SealError
from puna.formats import read_gguf
from puna.jobs import merge_adapter, record_seal, verify_model
from puna.loading import load_parts
from puna.package import GGUF_TYPES, export_gguf
from puna.seal import FILE, from_json
from tests.attacks.checks import check_message
from tests.seal import plant
from tests.seal.conftest import run
from tests.unit.tiny import save_tiny


def test_the_seal_of_the_model_that_ships_inside_holds() -> None:
    found = verify_model("cria", device="cpu")
    assert found.verdict == "agrees"
    assert verify_model("cria", device="cpu", dtype="float32").verdict == "agrees"
    assert verify_model("cria", device="cpu", dtype="float16").verdict == "agrees"


def test_json_and_back(sealed: Path) -> None:
    body = json.loads((sealed / FILE).read_text())
    seal = from_json(body, "x")
    assert json.loads(json.dumps(seal.to_json())) == body
    assert len(seal.prompts) == 10
    assert seal.dtype == seal.stored == "bfloat16"
    assert set(seal.digests) >= {"chat_template.jinja", "tokenizer.json", "model.safetensors"}
    assert seal.axes["special_ids"] == {"bos": 1, "eos": [2]}


def mutations(value: Any) -> list[Any]:
    """Every way to spoil one place of a seal."""
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    wrong: list[Any] = [None, -1, 1e308, float("nan"), "x", [], {}, True, [None], {"a": None}]
    wrong += [10**400, {"is": 3}, deep]
    found = []
    for path in _places(value):
        for other in wrong:
            copy = json.loads(json.dumps(value))
            at = copy
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = other
            found.append(copy)
    return found


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(min(len(value), 1))
    inner = [(key, value[key]) for key in keys]
    found = [(*path, key) for key, _ in inner]
    for key, part in inner:
        if isinstance(part, dict | list):
            found += _places(part, (*path, key))
    return found


def test_a_spoiled_seal_is_refused_or_harmless(sealed: Path) -> None:
    body = json.loads((sealed / FILE).read_text())
    refused = 0
    for spoiled in mutations({**body, "prompts": body["prompts"][:1]}):
        try:
            from_json(spoiled, "here").to_json()
        except FormatError as error:
            check_message(error, "seal")
            refused += 1
    assert refused > 200


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_bytes_that_are_no_seal(sealed: Path, tmp_path: Path, body: bytes) -> None:
    (tmp_path / FILE).write_bytes(body)
    shutil.copy(sealed / "config.json", tmp_path)
    with pytest.raises(PunaError):
        load_parts(tmp_path, device="cpu")


@pytest.mark.parametrize("place", ["ids", "rows"])
def test_ids_beyond_the_vocabulary_differ_and_do_not_crash(
    place: str, sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sealed, tmp_path / "m")
    body = json.loads((tmp_path / "m" / FILE).read_text())
    prompt = body["prompts"][0]
    (prompt if place == "ids" else prompt["rows"][0])["ids"][0] = 1 << 20
    (tmp_path / "m" / FILE).write_text(json.dumps(body))
    with pytest.raises(SystemExit):
        main(["verify", str(tmp_path / "m"), "--device", "cpu", "--json"])
    assert json.loads(capsys.readouterr().out)["verdict"] == "differs"


def test_weights_that_are_no_numbers_differ_in_json_too(
    sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sealed, tmp_path / "m")
    plant.no_numbers(tmp_path / "m")
    with pytest.raises(SystemExit):
        main(["verify", str(tmp_path / "m"), "--device", "cpu", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    answers = next(check for check in checks if check["name"] == "answers")
    assert (answers["verdict"], answers["figures"]["kl"]) == ("differs", None)


def test_a_seal_of_more_than_any_has_is_refused(sealed: Path) -> None:
    body = json.loads((sealed / FILE).read_text())
    many = [{**body["prompts"][0], "name": f"p{number}"} for number in range(33)]
    long = [{**body["prompts"][0], "ids": [1] * 257}]
    for prompts in (many, long, [body["prompts"][0]] * 2, []):
        with pytest.raises(FormatError, match="damaged"):
            from_json({**body, "prompts": prompts}, "x")
    with pytest.raises(FormatError, match="damaged at 'name'"):
        from_json({**body, "name": "a\x1b[31m"}, "x")
    with pytest.raises(FormatError, match="damaged at 'stored'"):
        from_json({**body, "stored": "q1"}, "x")


def test_what_changes_nothing_is_no_fault(sealed: Path, tmp_path: Path) -> None:
    """Another way to write a config, sampling defaults, files that nobody reads."""
    folder = tmp_path / "m"
    shutil.copytree(sealed, folder)
    config = folder / "config.json"
    config.write_bytes(config.read_bytes().replace(b"\n", b"\r\n"))
    special = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**special, "temperature": 0.7}))
    (folder / "training_args.bin").write_bytes(b"x")
    assert verify_model(folder, device="cpu").verdict == "agrees"
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 77}))
    with pytest.raises(SealError, match=r"special_ids\.eos"):
        load_parts(folder, device="cpu")


def test_an_adapter_of_a_coarse_base_works_on_the_fine_one(sealed: Path, tmp_path: Path) -> None:
    coarse = tmp_path / "cria.gguf"
    export_gguf(load_parts(sealed, device="cpu"), coarse, "q4_0")
    adapter = run(coarse, tmp_path) / "adapter"
    assert verify_model(coarse, adapter=adapter, device="cpu").verdict == "agrees"
    assert verify_model(sealed, adapter=adapter, device="cpu").verdict == "agrees"
    assert verify_model(sealed, against=coarse, device="cpu").verdict == "agrees"


def test_against_counts_adapters_on_both_sides(sealed: Path, adapter: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merge_adapter(sealed, adapter, merged, device="cpu")
    assert verify_model(sealed, adapter=adapter, against=merged, device="cpu").verdict == "agrees"
    bare = verify_model(sealed, adapter=adapter, against=sealed, device="cpu")
    assert bare.verdict != "agrees"
    config = adapter / "adapter_config.json"
    named = tmp_path / "named"
    shutil.copytree(adapter, named)
    body = {**json.loads(config.read_text()), "base_model_name_or_path": str(sealed)}
    (named / "adapter_config.json").write_text(json.dumps(body))
    assert verify_model(merged, against=named, device="cpu").verdict == "agrees"


def test_an_unsealed_adapter_brings_its_own_template(
    sealed: Path, adapter: Path, tmp_path: Path
) -> None:
    shutil.copytree(adapter, tmp_path / "a")
    (tmp_path / "a" / FILE).unlink()
    plant.another_template(tmp_path / "a")
    found = verify_model(sealed, adapter=tmp_path / "a", device="cpu")
    assert found.verdict == "agrees"


def test_an_adapter_is_sealed_anew(sealed: Path, adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    shutil.copytree(adapter, folder)
    plant.another_template(folder)
    with pytest.raises(SealError, match="chat_template"):
        load_parts(sealed, adapter=folder, device="cpu")
    assert record_seal(sealed, adapter=folder, device="cpu") == folder
    found = verify_model(sealed, adapter=folder, device="cpu")
    assert found.verdict == "agrees"
    assert "stop token" not in {check.name for check in found.checks}


def test_a_model_of_another_size_differs_and_does_not_crash(sealed: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    for one, two in ((sealed, tmp_path / "m"), (tmp_path / "m", sealed)):
        assert verify_model(one, against=two, device="cpu").verdict == "differs"


def test_a_merged_model_is_held_against_base_and_adapter(
    sealed: Path, adapter: Path, tmp_path: Path
) -> None:
    merge_adapter(sealed, adapter, tmp_path / "merged", device="cpu")
    found = verify_model(tmp_path / "merged", device="cpu")
    assert found.verdict == "agrees"
    answers = next(check for check in found.checks if check.name == "answers")
    assert 0 < answers.figures["kl"] < 3e-3  # rounded to bfloat16 once more
    # How surely answers end was measured when it was tuned, and is still known.
    assert "stop token" in {check.name for check in found.checks}


@pytest.mark.parametrize("kind", GGUF_TYPES)
def test_every_gguf_type_carries_the_seal_and_is_within_its_limits(
    kind: str, sealed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    export_gguf(load_parts(sealed, device="cpu"), path, kind)
    found = verify_model(path, device="cpu")
    assert found.verdict == "agrees", found
    assert {check.name for check in found.checks} == {
        "vocabulary", "architecture", "prompts", "answers",
    }  # fmt: skip
    assert verify_model(path, against=sealed, device="cpu").verdict == "agrees"


def test_a_type_that_makes_another_model_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m", hidden_size=64)
    parts, path = load_parts(tmp_path / "m", device="cpu"), tmp_path / "m.gguf"
    export_gguf(parts, path, "f32")
    before = path.read_bytes()
    with pytest.raises(SealError, match=r"KL \d.*\d positions") as caught:
        export_gguf(parts, path, "q4_0")
    assert "finer type" in (caught.value.remedy or "")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "gguf" in p.name] == ["m.gguf"]
    done = export_gguf(parts, path, "q4_0", insist=False)
    assert any(note.startswith("answers: KL") for note in done.notes)


def test_a_template_in_a_gguf_file_that_was_exchanged(sealed: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    export_gguf(load_parts(sealed, device="cpu"), path, "bf16")
    old = str(read_gguf(path).metadata["tokenizer.chat_template"]).encode()
    raw = path.read_bytes()
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, old.replace(b"<|user|>", b"<|USER|>")))
    with pytest.raises(SealError, match=r"tokenizer\.chat_template changed"):
        load_parts(path, device="cpu")


def test_a_model_without_a_tokenizer_is_sealed_by_ids(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    puna.load(tmp_path / "m", device="cpu").save(tmp_path / "copy")
    found = verify_model(tmp_path / "copy", device="cpu")
    assert found.verdict == "agrees"
    plant_swap(tmp_path / "copy")
    assert verify_model(tmp_path / "copy", device="cpu").verdict == "differs"


def plant_swap(folder: Path) -> None:
    names = {"0": "1", "1": "0"}
    path = folder / "model.safetensors"
    tensors = {n: t.clone() for n, t in plant.read_tensors(path).items()}

    def other(name: str) -> str:
        head, number, tail = name.partition("layers.")[0::1]
        return f"{head}{number}{names[tail[0]]}{tail[1:]}" if number else name

    plant._write(path, {name: tensors[other(name)] for name in tensors})


def test_a_model_that_computes_no_numbers_is_not_sealed(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    lm = puna.load(tmp_path / "m", device="cpu")
    next(iter(lm.parts.model.parameters())).data.fill_(float("nan"))
    with pytest.raises(SealError, match="not finite"):
        lm.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_was_opened_past_an_unknown_key_is_saved(tmp_path: Path) -> None:
    save_tiny(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "my_own_key": 3}))
    lm = puna.load(tmp_path / "m", device="cpu", ignore_keys=("my_own_key",))
    lm.save(tmp_path / "copy")
    found = verify_model(tmp_path / "copy", device="cpu", ignore_keys=("my_own_key",))
    assert found.verdict == "agrees"


def test_a_template_that_begins_twice_is_not_sealed(sealed: Path, tmp_path: Path) -> None:
    shutil.copytree(sealed, tmp_path / "m")
    plant.doubled_bos(tmp_path / "m")
    with pytest.raises(SealError, match="twice"):
        record_seal(tmp_path / "m", device="cpu")


def test_recording_makes_a_change_ones_own(sealed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(sealed, folder)
    plant.another_template(folder)
    with pytest.raises(SealError):
        load_parts(folder, device="cpu")
    record_seal(folder, device="cpu")
    load_parts(folder, device="cpu")
    assert verify_model(folder, device="cpu").verdict == "agrees"
    with pytest.raises(PunaError, match="not changed"):
        record_seal("cria", device="cpu")


def test_another_template_by_choice_is_no_fault(sealed: Path) -> None:
    found = verify_model(sealed, device="cpu", template="chatml")
    assert found.verdict == "agrees"
    assert any("4 chats not looked at" in check.said for check in found.checks)


def test_the_command_ends_with_one_and_shows_figures(
    sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["verify", str(sealed), "--json"])
    assert json.loads(capsys.readouterr().out)["verdict"] == "agrees"
    shutil.copytree(sealed, tmp_path / "m")
    plant.swapped_layers(tmp_path / "m")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(tmp_path / "m")])
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "differs" in shown
    assert "nats on average" in " ".join(shown.replace("│", " ").split())


def test_a_server_refuses_a_model_that_differs(sealed: Path, tmp_path: Path) -> None:
    shutil.copytree(sealed, tmp_path / "m")
    plant.transposed_weight(tmp_path / "m")
    words = [sys.executable, "-m", "puna", "serve", str(tmp_path / "m"), "--port", "0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not what was sealed; answers: KL" in done.stderr
    assert "Traceback" not in done.stderr


SAVE = """
import sys, puna
lm = puna.load("cria", device="cpu")
print("ready", flush=True)
while True:
    lm.save(sys.argv[1])
"""


def test_a_kill_never_leaves_a_seal_of_something_else(tmp_path: Path) -> None:
    """Kills at random moments of saving over and over: a seal that is there holds."""
    folder, chance, sealed = tmp_path / "m", random.Random(4), 0
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVE, str(folder)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.05, 1.2))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if (folder / FILE).is_file():
            sealed += 1
            assert verify_model(folder, device="cpu").verdict == "agrees"
        elif (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            load_parts(folder, device="cpu")
    puna.load("cria", device="cpu").save(folder)
    assert verify_model(folder, device="cpu").verdict == "agrees"
