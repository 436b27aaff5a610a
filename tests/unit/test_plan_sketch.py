"""Sketches of models on the disk: what they are stored in, and what `auto` opens them in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from puna.errors import ConfigError, FormatError, SourceError
from puna.families import name_table, read_config
from puna.loading import load_parts
from puna.package import export_gguf
from puna.plan.known import known_config, known_configs
from puna.plan.sketch import look_up, sketch
from puna.source import known_models
from puna.spec import count_parameters
from puna.weights import checkpoint_dtype, open_checkpoint, save_folder
from tests.parity.forms import FORMS
from tests.unit.tiny import LLAMA, save_tiny, tiny

HALVES = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_a_folder_is_opened_in_what_most_of_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    spec, model = tiny()
    save_folder(model, name_table(spec), tmp_path, config=LLAMA, dtype=dtype)
    found = sketch(tmp_path)
    assert found.spec == spec
    assert found.form == "safetensors"
    assert sum(found.stored.values()) == count_parameters(spec)
    assert found.files == (tmp_path / "model.safetensors").stat().st_size
    assert found.dtype == checkpoint_dtype(open_checkpoint(tmp_path))
    assert found.dtype == str(load_parts(tmp_path, device="cpu").model.dtype).split(".")[-1]


@pytest.mark.parametrize("kind", ["f32", "bf16", "f16", "q8_0", "q4_0"])
def test_a_gguf_says_what_its_blocks_are(tmp_path: Path, kind: str) -> None:
    save_tiny(tmp_path / "model", vocab_size=512)
    path = tmp_path / "m.gguf"
    export_gguf(load_parts(tmp_path / "model", device="cpu"), path, kind, insist=False)
    found = sketch(path)
    assert found.form == "gguf"
    assert found.files == path.stat().st_size
    assert sum(found.stored.values()) == count_parameters(found.spec)
    assert next(iter(found.stored)) == kind.upper()
    assert found.dtype == checkpoint_dtype(open_checkpoint(path))


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_a_pickle_is_told_by_its_size(tmp_path: Path, dtype: torch.dtype) -> None:
    spec, model = tiny(hidden_size=64, vocab_size=2000)
    name = str(dtype).split(".")[-1]
    config = {**LLAMA, "hidden_size": 64, "vocab_size": 2000, "torch_dtype": name}
    save_folder(model, name_table(spec), tmp_path, config=config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink()
    table = name_table(spec)
    values = {table.by_ours(n).theirs: p.to(dtype) for n, p in model.named_parameters()}
    torch.save(values, tmp_path / "pytorch_model.bin")
    found = sketch(tmp_path)
    assert (found.form, found.dtype) == ("bin", name)
    assert found.dtype == checkpoint_dtype(open_checkpoint(tmp_path))


def test_mxfp4_counts_its_values(tmp_path: Path) -> None:
    form = next(form for form in FORMS if form.id == "gpt-oss-mxfp4")
    form.make(tmp_path)
    found = sketch(tmp_path)
    assert found.stored["MXFP4"] > 0
    assert sum(found.stored.values()) == count_parameters(found.spec)
    assert found.dtype == checkpoint_dtype(open_checkpoint(tmp_path))


@pytest.mark.parametrize("stated", [{}, {"dtype": "float16"}, {"torch_dtype": "bfloat16"}], ids=str)
def test_a_config_alone_is_enough(tmp_path: Path, stated: dict[str, str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **stated}))
    found = sketch(tmp_path)
    assert found.dtype == next(iter(stated.values()), "float32")
    assert (found.files, dict(found.stored)) == (0, {})
    assert found.spec == read_config(LLAMA)


def test_what_is_broken_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(FormatError, match="beyond the file's end"):
        sketch(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "mystery": 1}))
    with pytest.raises(ConfigError, match="mystery"):
        look_up(tmp_path)
    weights.unlink()
    assert look_up(tmp_path, ignore_keys=["mystery"]).place == "disk"
    with pytest.raises(SourceError, match="there is no model"):
        look_up(tmp_path / "nothing")


def test_known_dimensions_are_those_of_the_catalog() -> None:
    assert len(known_configs()) >= 24
    for name, config in known_configs().items():
        spec, entry = read_config(config), known_models()[name]
        assert count_parameters(spec) == entry.parameters, name
        assert (spec.family, spec.context) == (entry.family, entry.context), name
        assert "dtype" in config or "torch_dtype" in config, name


def test_known_counts_are_those_of_the_facts(shared: Path) -> None:
    page = (shared / "facts" / "models.md").read_text()
    counts = {int(text.replace(",", "")) for text in re.findall(r"\d{1,3}(?:,\d{3})+", page)}
    large = ("falcon-180b", "falcon-40b", "bloom", "mixtral", "llama3.1-405b", "llama2-70b")
    for name in (*large, "gpt-neox-20b", "llama-65b", "mistral-7b"):
        assert count_parameters(read_config(known_configs()[name])) in counts, name
    mixtral = read_config(known_configs()["mixtral"])
    assert count_parameters(mixtral, active=True) in counts


def test_derivatives_have_the_dimensions_of_their_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert known_config("vicuna-7b") == ("llama2-7b", known_configs()["llama2-7b"])
    assert known_config("guanaco-33b") == ("llama-33b", known_configs()["llama-33b"])
    assert known_config("tiiuae/falcon-180B") == ("falcon-180b", known_configs()["falcon-180b"])
    assert known_config("gpt2") is None
    found = look_up("vicuna-7b")
    assert found.place == "known"
    assert "of llama2-7b, which it was made from" in found.notes[0]
    assert found.sketch.files == 2 * count_parameters(found.sketch.spec)


def test_a_sketch_needs_no_torch() -> None:
    code = (
        "import sys; from puna.plan.sketch import look_up; look_up('cria'); "
        "look_up('bloom', pull_headers=False); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_form_is_sketched_as_it_opens(tmp_path: Path) -> None:
    for number, form in enumerate(FORMS):
        folder = tmp_path / str(number)
        form.make(folder)
        found, opened = sketch(folder), open_checkpoint(folder)
        assert found.dtype == checkpoint_dtype(opened), form.id
        assert found.files == sum(path.stat().st_size for path in opened.files), form.id
