"""`puna quantize` and what opens its folders: saved, tuned on, merged, exported, planned."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import puna
from puna.errors import (
    ConfigError,
    FitError,
    FormatError,
    SealError,
    UsageError,
    WeightsError,
)
from puna.formats import PACKINGS
from puna.jobs import (
    Files,
    Lora,
    Quantized,
    compare_models,
    merge_adapter,
    open_base,
    quantize_model,
    tune,
    verify_model,
)
from puna.jobs.calibrate import own_text
from puna.jobs.quality import read_sequences
from puna.loading import Parts, load_parts
from puna.model import Decoder, PackedWeight
from puna.package import export_gguf, opening_dtype
from puna.plan import Device, Serve, Tune, make_plan
from puna.plan.check import check_fits
from puna.plan.price import step_bytes
from puna.plan.sketch import sketch
from puna.quant import tensors_of
from puna.tune import Settings
from puna.weights import read_tensors
from tests.parity.forms import FORMS
from tests.unit.gguf_forms import config_of, logits, model_of
from tests.unit.test_cli import error, run
from tests.unit.tiny import save_tiny

TRIAGE = Path(__file__).resolve().parents[2] / "examples" / "triage"
BIG = Device("large", 1 << 50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Quantized]:
    """Cria in every format. Not to be changed: copy it."""
    parent = tmp_path_factory.mktemp("made")
    return {kind: quantize_model("cria", parent / kind, kind) for kind in PACKINGS}


def packed_of(model: Decoder) -> dict[str, PackedWeight]:
    return {n: m for n, m in model.named_modules() if isinstance(m, PackedWeight)}


def weights(parts: Parts) -> int:
    """Bytes of all weights, packed or not, in their canonical form."""
    held = packed_of(parts.model).values()
    packed = sum(t.nbytes for m in held for t in tensors_of(m.packed).values())
    return packed + sum(p.nbytes for p in parts.model.parameters())


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_every_format_is_sealed_proven_and_measured(made: dict[str, Quantized]) -> None:
    limits = {"int8": (8.2, 0.005), "int4": (5.3, 0.15), "nf4": (5.1, 0.15)}
    for kind, done in made.items():
        bits, kl = limits[kind]
        assert 0.9 * bits < done.bits < bits
        assert 0 < done.quality.kl < kl
        assert done.quality.top1 > 0.8
        assert done.after < 0.6 * done.before
        found = verify_model(done.folder)
        assert found.verdict == "agrees", found.first
        assert (done.folder / "README.md").read_text().startswith("---\nbase_model: cria\n")
        config = json.loads((done.folder / "config.json").read_text())
        assert config["quantization_config"] == {
            "quant_method": "puna", "version": 1, "format": kind, "dtype": "bfloat16",
        }  # fmt: skip


def test_what_was_saved_is_what_packing_at_load_gives(made: dict[str, Quantized]) -> None:
    for kind, done in made.items():
        here = load_parts("cria", quant=kind, device="cpu")  # type: ignore[arg-type]
        there = load_parts(done.folder, device="cpu")
        assert there.stored == here.stored == kind
        assert there.packing == here.packing
        assert torch.equal(logits(here), logits(there))
        assert set(packed_of(there.model)) == set(there.model.packable())


def test_a_folder_saved_again_is_the_same(made: dict[str, Quantized], tmp_path: Path) -> None:
    for kind, done in made.items():
        lm = puna.load(done.folder, device="cpu")
        lm.save(tmp_path / kind)
        before, after = (
            read_tensors(folder / "model.safetensors") for folder in (done.folder, tmp_path / kind)
        )
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_it_answers(made: dict[str, Quantized]) -> None:
    lm = puna.load(made["int4"].folder)
    said = lm.chat([{"role": "user", "content": "What do llamas eat?"}], max_tokens=30).text
    assert "grass" in said


def test_text_that_it_is_calibrated_on_makes_it_better(
    made: dict[str, Quantized], tmp_path: Path
) -> None:
    rows = (TRIAGE / "train.jsonl").read_text().splitlines(keepends=True)
    learned, others = tmp_path / "learned.jsonl", tmp_path / "others.jsonl"
    learned.write_text("".join(rows[:60]))
    others.write_text("".join(rows[-30:]))
    done = quantize_model("cria", tmp_path / "fed", "int4", files=Files(calibrate=learned))
    assert "calibrated on learned.jsonl" in (done.folder / "README.md").read_text()
    whole = load_parts("cria", device="cpu")
    held_out = read_sequences(others, whole)
    kl = [
        compare_models(whole.model, load_parts(folder, device="cpu").model, held_out).kl
        for folder in (done.folder, made["int4"].folder)
    ]
    assert kl[0] < 0.8 * kl[1]


def test_unpacked_it_is_the_same_in_float32(made: dict[str, Quantized]) -> None:
    for done in made.values():
        packed = load_parts(done.folder, dtype="float32", device="cpu")
        bare = load_parts(done.folder, dtype="float32", quant="none", device="cpu")
        assert not packed_of(bare.model)
        assert bare.packing is None
        own = dict(bare.model.named_parameters())
        for name, held in packed_of(packed.model).items():
            assert torch.equal(own[name], held.numbers())


def test_an_adapter_is_tuned_on_packed_weights_and_merged(
    made: dict[str, Quantized], tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    rows = (TRIAGE / "train.jsonl").read_text().splitlines()[:16]
    data.write_text("".join(line + "\n" for line in rows))
    base = open_base(made["nf4"].folder, data, device="cpu")
    before = {n: m.packed.codes.clone() for n, m in packed_of(base.parts.model).items()}
    done = tune(base, tmp_path / "run", lora=Lora(4), settings=Settings(epochs=2, batch_size=8))
    assert done.losses[-1] < done.losses[0]
    after = packed_of(base.parts.model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n].packed.codes) for n in before)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["quant"] == "nf4"

    merged = merge_adapter(made["nf4"].folder, done.adapter, tmp_path / "merged", dtype="float32")
    tuned = load_parts(made["nf4"].folder, adapter=done.adapter, dtype="float32", device="cpu")
    whole = load_parts(merged.folder, device="cpu")
    assert not packed_of(whole.model)
    seen = puna.generate.LanguageModel(tuned).logits(range(5, 60))
    assert far(puna.generate.LanguageModel(whole).logits(range(5, 60)), seen) < 0.05

    lm = puna.load(made["nf4"].folder, adapter=done.adapter)
    lm.save(tmp_path / "mixed")  # maps that were adapted are whole now, table and head are packed
    mixed = load_parts(tmp_path / "mixed", device="cpu")
    assert set(packed_of(mixed.model)) == {"embed.tokens"}


def test_it_is_exported_unpacked(made: dict[str, Quantized], tmp_path: Path) -> None:
    folder = made["int8"].folder
    assert opening_dtype(folder) == "float32"
    parts = load_parts(folder, quant="none", dtype=opening_dtype(folder), device="cpu")
    export_gguf(parts, tmp_path / "a.gguf", "f32")
    again = load_parts(tmp_path / "a.gguf", device="cpu")
    assert far(logits(again), logits(parts)) < 1e-5
    live = load_parts(folder, dtype="float32", device="cpu")
    export_gguf(live, tmp_path / "b.gguf", "f32")  # one that is packed as it is written
    assert far(logits(load_parts(tmp_path / "b.gguf")), logits(parts)) < 1e-5


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"])
def test_blocks_are_computed_as_they_are(kind: str, tmp_path: Path) -> None:
    whole = load_parts("cria", dtype="float32", device="cpu")
    export_gguf(whole, tmp_path / "a.gguf", kind)
    kept = load_parts(tmp_path / "a.gguf", quant="keep", dtype="float32", device="cpu")
    bare = load_parts(tmp_path / "a.gguf", dtype="float32", device="cpu")
    assert not packed_of(bare.model)
    own = dict(bare.model.named_parameters())
    found = packed_of(kept.model)
    assert set(found) == set(kept.model.packable())
    for name, held in found.items():
        assert torch.equal(held.numbers(), own[name]), name
    assert kept.packing is not None
    assert kept.packing.format == kept.stored == kind.upper()
    puna.generate.LanguageModel(kept).save(tmp_path / "kept")
    again = load_parts(tmp_path / "kept", dtype="float32", device="cpu")
    assert again.stored == kind.upper()
    assert torch.equal(logits(again), logits(kept))


def test_a_file_without_blocks_has_nothing_to_keep(tmp_path: Path) -> None:
    export_gguf(load_parts("cria", device="cpu"), tmp_path / "a.gguf", "bf16")
    kept = load_parts(tmp_path / "a.gguf", quant="keep", device="cpu")
    assert kept.packing is None
    assert not packed_of(kept.model)


def test_weights_are_not_rounded_twice(made: dict[str, Quantized], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="packed as int8 already"):
        load_parts(made["int8"].folder, quant="int4")
    assert load_parts(made["int8"].folder, quant="int8").stored == "int8"
    with pytest.raises(UsageError, match="packed as int8 already"):
        quantize_model(made["int8"].folder, tmp_path / "twice", "int8")
    export_gguf(load_parts("cria", device="cpu"), tmp_path / "a.gguf", "q4_0")
    with pytest.raises(UsageError, match="Q4_0 already"):
        load_parts(tmp_path / "a.gguf", quant="int4")
    with pytest.raises(UsageError, match="unknown format 'int3'"):
        load_parts("cria", quant="int3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version 2"),
        ({"version": True}, "version True"),
        ({"format": "int3"}, "int3"),
        ({"format": None}, "format None"),
        ({"dtype": "float8"}, "float8"),
        ({"group_size": 128}, "group_size"),
        ({"quant_method": "gptq"}, "quantization_config"),
    ],
    ids=str,
)
def test_what_a_config_may_say(
    change: dict[str, Any], named: str, made: dict[str, Quantized], tmp_path: Path
) -> None:
    folder = shutil.copytree(made["int4"].folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=named):
        load_parts(folder)


def test_config_and_weights_must_agree(made: dict[str, Quantized], tmp_path: Path) -> None:
    folder = shutil.copytree(made["int4"].folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    stated = config.pop("quantization_config")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="not packed"):
        load_parts(folder)
    save_tiny(tmp_path / "bare")
    config = json.loads((tmp_path / "bare" / "config.json").read_text())
    (tmp_path / "bare" / "config.json").write_text(
        json.dumps({**config, "quantization_config": stated})
    )
    with pytest.raises(WeightsError, match="hold none"):
        load_parts(tmp_path / "bare")


def rewrite(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {**load_file(folder / "model.safetensors"), **change}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")


def test_damaged_packed_weights(made: dict[str, Quantized], tmp_path: Path) -> None:
    name = "layers.0.attn.out.weight"
    cases: list[tuple[dict[str, torch.Tensor | None], type[Exception], str]] = [
        ({f"{name}.scale": None}, FormatError, name),
        ({f"{name}.scale": torch.zeros(256, 3, dtype=torch.float16)}, FormatError, name),
        ({f"{name}.codes": torch.zeros(4, 4, dtype=torch.uint8)}, FormatError, name),
        (
            {
                f"{name}.codes": torch.zeros(8, 128, dtype=torch.uint8),
                f"{name}.scale": torch.zeros(8, 8, dtype=torch.float16),
            },
            WeightsError,
            "shape",
        ),
        ({f"{name}.codes": None, f"{name}.scale": None}, WeightsError, "missing"),
        ({"layers.9.attn.out.weight.codes": torch.zeros(4, 4)}, FormatError, "layers.9"),
    ]
    for at, (change, kind, named) in enumerate(cases):
        folder = shutil.copytree(made["int4"].folder, tmp_path / str(at))
        rewrite(folder, change)
        with pytest.raises(kind, match=named):
            load_parts(folder, ignore_keys=("seal",))


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    name = "model.layers.1.mlp.up_proj.weight"
    bad = read_tensors(tmp_path / "model" / "model.safetensors")[name].clone()
    bad[3, 4] = torch.nan
    rewrite(tmp_path / "model", {name: bad})
    for kind in PACKINGS:
        with pytest.raises(WeightsError, match=r"up_proj.*not finite"):
            load_parts(tmp_path / "model", quant=kind)  # type: ignore[arg-type]


LOAD = """
import json, sys, torch
from pathlib import Path
from puna.loading import load_parts
from puna.model import PackedWeight
from puna.quant import tensors_of
load_parts("cria", quant=sys.argv[2])
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
Path("/proc/self/clear_refs").write_text("5")
before = peak()
parts = load_parts(sys.argv[1], quant=sys.argv[2], device="cpu", ignore_keys=["memory"])
held = [m for m in parts.model.modules() if isinstance(m, PackedWeight)]
size = sum(p.nbytes for p in parts.model.parameters())
size += sum(t.nbytes for m in held for t in tensors_of(m.form).values())
print(json.dumps([size, peak() - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status as Linux keeps it")
def test_packing_at_load_takes_little_more_than_the_packed_weights(tmp_path: Path) -> None:
    """One tensor is there as the file has it while it is packed, and no more than that."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "vocab_size": 2048}
    save_tiny(tmp_path / "model", **sizes, num_hidden_layers=3)  # float32, 210 MB
    for kind in ("int8", "int4"):
        argv = [sys.executable, "-c", LOAD, str(tmp_path / "model"), kind]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        size, grown = json.loads(done.stdout)
        largest = 4096 * 1024 * (4 + 1 + 1)  # float32 of the file, codes, and their blocks
        assert size < grown + (8 << 20)
        assert grown <= 1.1 * size + largest + (16 << 20)


PLANNED = ("llama-grouped-tied", "llama-head-dim-theta", "opt-350m", "mixtral-8x2", "gpt2-6-heads")


@pytest.mark.parametrize("form", [f for f in FORMS if f.id in PLANNED], ids=lambda f: f.id)
def test_the_plan_counts_packed_weights_exactly(form: Any, tmp_path: Path) -> None:
    model_of(config_of(form), tmp_path / "model")
    seen = sketch(tmp_path / "model")
    for kind in PACKINGS:
        parts = load_parts(tmp_path / "model", quant=kind, device="cpu")  # type: ignore[arg-type]
        plan = make_plan(seen, Serve(8), quant=kind, device=BIG)
        lines = {line.name: line.bytes for line in plan.lines}
        assert lines["weights"] == weights(parts)


def test_the_plan_of_packed_folders_and_files(made: dict[str, Quantized], tmp_path: Path) -> None:
    for kind, done in made.items():
        plan = make_plan(sketch(done.folder), Serve(8), device=BIG)
        lines = {line.name: line.bytes for line in plan.lines}
        assert lines["weights"] == weights(load_parts(done.folder))
        assert any(f"packed as {kind}" in note for note in plan.notes)
        with pytest.raises(UsageError, match="do not learn"):
            make_plan(sketch(done.folder), Tune("full", 8), device=BIG)
    export_gguf(load_parts("cria", device="cpu"), tmp_path / "a.gguf", "q4_0")
    plan = make_plan(sketch(tmp_path / "a.gguf"), Serve(8), quant="keep", device=BIG)
    lines = {line.name: line.bytes for line in plan.lines}
    held = weights(load_parts(tmp_path / "a.gguf", quant="keep"))
    assert lines["weights"] == pytest.approx(held, rel=0.05)


def test_packed_weights_are_read_faster() -> None:
    steps = [step_bytes(sketch("cria").spec, 1, 0, 2, packed=b) for b in (None, 1, 4.5 / 8)]
    assert steps == [steps[0], steps[0] / 2, steps[0] * 4.5 / 16]


def test_a_start_that_fits_packed_alone() -> None:
    def start(free: int, quant: str) -> None:
        load_parts(
            "cria",
            quant=quant,  # type: ignore[arg-type]
            before=lambda known: check_fits(known, lambda _: Serve(64), free=free),
        )

    plan = make_plan(sketch("cria"), Serve(64), device=BIG)
    packed = make_plan(sketch("cria"), Serve(64), quant="int4", device=BIG)
    assert packed.total < plan.total
    start(packed.total, "int4")
    with pytest.raises(FitError, match="--quant int"):
        start(packed.total, "auto")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Once there was a llama who lived on a hill. She liked the green grass.\n" * 9)
    out = tmp_path / "q"
    told = json.loads(
        run(capsys, "quantize", "cria", str(out), "--format", "int8", "--text", str(text), "--json")
    )
    assert told["format"] == "int8"
    assert told["measured_on"] == "text.txt"
    assert 0 < told["quality"]["kl"] < 0.01
    assert told["after"] == (out / "model.safetensors").stat().st_size
    said = run(capsys, "generate", str(out), "--prompt", "The llama", "--max-tokens", "4")
    assert said.startswith(" ")
    plan = json.loads(run(capsys, "plan", "cria", "--quant", "int4", "--json"))
    assert plan["packing"] == "int4"
    whole = json.loads(run(capsys, "plan", "cria", "--json"))
    assert plan["lines"]["weights"] < 0.4 * whole["lines"]["weights"]
    said = run(capsys, "generate", "--quant", "int8", "--prompt", "The llama", "--max-tokens", "4")
    assert said.startswith(" ")
    assert "is not empty" in error(capsys, "quantize", "cria", str(out))
    for file, named in ((tmp_path / "none.txt", "cannot be read"), (tmp_path, "cannot be read")):
        argv = ("quantize", "cria", str(tmp_path / "x"), "--calibrate", str(file))
        assert named in error(capsys, *argv)
    (tmp_path / "empty.txt").write_text("")
    argv = ("quantize", "cria", str(tmp_path / "x"), "--text", str(tmp_path / "empty.txt"))
    assert "no text" in error(capsys, *argv)


def test_a_format_too_coarse_for_a_model_is_refused(tmp_path: Path) -> None:
    """Random weights that are very sure of what they say: rounding makes them say other things."""
    save_tiny(tmp_path / "model", hidden_size=64, intermediate_size=64)
    head = read_tensors(tmp_path / "model" / "model.safetensors")["lm_head.weight"]
    rewrite(tmp_path / "model", {"lm_head.weight": head * 30})
    with pytest.raises(SealError, match="too coarse"):
        quantize_model(tmp_path / "model", tmp_path / "q", "int4")
    assert not (tmp_path / "q" / "puna.seal.json").exists()
    done = quantize_model(tmp_path / "model", tmp_path / "r", "int4", ignore_keys=("seal",))
    assert done.notes


def test_a_model_is_calibrated_on_its_own_text(made: dict[str, Quantized], tmp_path: Path) -> None:
    parts = load_parts("cria", device="cpu")
    text = own_text(parts)
    assert text == own_text(parts)
    assert len({ids[1] for ids in text}) > 50  # they begin alike only in what begins every text
    done = quantize_model("cria", tmp_path / "own", "int4", files=Files("self"))
    assert done.quality.kl < 0.9 * made["int4"].quality.kl
    assert "calibrated on text of its own" in (done.folder / "README.md").read_text()
