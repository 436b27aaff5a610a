"""Does it fit: plans over all families, settings that would fit, splits, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import puna
from puna.engine import PAGE, Engine, Request
from puna.errors import AdapterError, FitError, UsageError
from puna.families import name_table, read_config
from puna.loading import Known, load_parts
from puna.model import build
from puna.plan import Device, Plan, Serve, Sketch, Tune, make_plan
from puna.plan.check import ROOM, cache_limit, check_fits, memory_of, serving
from puna.plan.known import known_configs
from puna.plan.split import split
from puna.plan.stand_in import kinds_of
from puna.spec import MoE, kv_bytes_per_token
from tests.parity.forms import FORMS, Form
from tests.unit.tiny import LLAMA, save_tiny, tiny

GB = 10**9
PLENTY = Device("plenty", 1 << 50)


def sketch_of(name: str, dtype: str = "bfloat16") -> Sketch:
    return Sketch(name, read_config(dict(known_configs()[name])), 0, "safetensors", {}, dtype)


def parts_of(plan: Plan) -> dict[str, int]:
    return {line.name: line.bytes for line in plan.lines}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
def test_every_form_can_be_planned(form: Form) -> None:
    spec = read_config(form.config().to_dict())
    sketch = Sketch(form.id, spec, 0, "safetensors", {}, "float32")
    for use in (
        Serve(spec.context, 2),
        Tune("lora", min(40, spec.context), 90),
        Tune("full", min(40, spec.context), 90),
    ):
        plan = make_plan(sketch, use, device=PLENTY)
        parts = parts_of(plan)
        assert plan.fits
        assert plan.total == sum(parts.values())
        assert min(parts.values()) > 0
        wanted = {"weights", "activations", "runtime"}
        if isinstance(use, Tune):
            wanted |= {"kernels", "gradients", "optimizer"} | (
                {"adapter"} if use.method == "lora" else set()
            )
        else:
            wanted |= {"KV cache"}
        assert wanted <= set(parts) <= wanted | {"loading", "kernels"}


def test_more_of_anything_needs_more() -> None:
    sketch = sketch_of("mistral-7b")

    def total(use: Any, dtype: str = "auto") -> int:
        return make_plan(sketch, use, dtype=dtype, device=PLENTY).total

    base = total(Serve(1024, 2))
    assert base < total(Serve(2048, 2)) < total(Serve(2048, 4))
    assert base < total(Serve(1024, 2), "float32")
    assert total(Tune("lora", 512, 1024)) < total(Tune("lora", 512, 2048))
    assert total(Tune("lora", 512, 1024, 8)) < total(Tune("lora", 512, 1024, 64))
    assert total(Tune("lora", 512, 1024, 8, ("q_proj",))) < total(Tune("lora", 512, 1024, 8))
    assert total(Tune("lora", 512, 1024)) < total(Tune("full", 512, 1024))


def test_a_large_model_is_planned_by_a_few_layers_and_experts() -> None:
    config = {**known_configs()["mixtral"], "num_local_experts": 256, "num_hidden_layers": 96}
    spec = read_config(config)
    (kind,) = kinds_of(spec, copies=2)
    assert (kind.count, kind.copies, kind.all_experts, kind.experts) == (96, 2, 256, 2)
    plan = make_plan(
        Sketch("wide", spec, 0, "safetensors", {}, "bfloat16"), Serve(4096), device=PLENTY
    )
    weights = sum(p.nbytes for p in build(replace(spec, layers=spec.layers[:2])).parameters())
    assert weights / 4 < parts_of(plan)["weights"] / 48 < weights / 2 * 1.01


@pytest.mark.parametrize(
    ("use", "gigabytes"),
    [
        (Serve(8192, 16), 24),
        (Serve(8192, 1), 16),
        (Tune("lora", 2048, 8192), 24),
        (Tune("full", 2048, 8192), 48),
    ],
)
def test_options_fit_when_they_are_planned_themselves(use: Any, gigabytes: int) -> None:
    sketch, device = sketch_of("mistral-7b", "float32"), Device("card", gigabytes * GB)
    plan = make_plan(sketch, use, device=device)
    assert not plan.fits
    assert len(plan.options) >= 2
    for option in plan.options[:-1]:
        again = make_plan(
            sketch,
            option.use,
            dtype=option.dtype,
            quant=option.quant,
            device=device,
            machines=option.machines,
        )
        assert again.fits
        assert again.total == option.total
    assert plan.options[-1].total == plan.total  # what no setting changes: a larger device


def test_what_fits_has_no_options() -> None:
    plan = make_plan(sketch_of("mistral-7b"), Serve(2048), device=Device("card", 24 * GB))
    assert plan.fits
    assert plan.options == ()


def test_more_devices_hold_what_one_does_not() -> None:
    sketch, card = sketch_of("llama2-70b"), Device("card", 80 * GB, "cuda")
    use = Serve(4096)
    assert not make_plan(sketch, use, device=card).fits
    two = make_plan(sketch, use, device=card, machines=2)
    assert two.fits
    assert any("split" in note for note in two.notes)
    whole = parts_of(make_plan(sketch, use, device=PLENTY))["weights"]
    assert whole / 2 <= parts_of(two)["weights"] < whole / 2 * 1.03


@pytest.mark.parametrize(
    ("use", "dtype", "machines", "error"),
    [
        (Serve(1 << 20), "auto", 1, UsageError),
        (Serve(16), "int3", 1, UsageError),
        (Serve(16), "auto", 0, UsageError),
        (Tune("lora", 16, 16, 8, ("no_proj",)), "auto", 1, AdapterError),
    ],
)
def test_what_cannot_be_meant(use: Any, dtype: str, machines: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_plan(sketch_of("mistral-7b"), use, dtype=dtype, device=PLENTY, machines=machines)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 5),
)
def test_a_split_is_whole_and_as_even_as_can_be(
    layers: list[int], first: int, last: int, machines: int
) -> None:
    shares = split(layers, first, last, machines)
    assert [at for share in shares for at in share] == list(range(len(layers)))
    assert len(shares) == machines
    costs = list(layers)
    costs[0] += first
    costs[-1] += last

    def fullest(ends: tuple[int, ...]) -> int:
        bounds = [0, *ends, len(costs)]
        return max(sum(costs[a:b]) for a, b in pairwise(bounds))

    cuts = range(1, len(costs))
    best = min(
        fullest(ends) for n in range(min(machines, len(costs))) for ends in combinations(cuts, n)
    )
    assert max(sum(costs[at] for at in share) for share in shares) == best


def known_of(folder: Path, **changes: Any) -> Known:
    seen: list[Known] = []

    class Seen(Exception):
        pass

    def stop(known: Known) -> None:
        seen.append(known)
        raise Seen

    with pytest.raises(Seen):
        load_parts(folder, device="cpu", before=stop, **changes)
    return seen[0]


def test_a_job_that_does_not_fit_is_refused_with_numbers(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    known = known_of(tmp_path)
    check_fits(known, lambda spec: Serve(spec.context, 4), free=1 * GB)
    with pytest.raises(FitError) as caught:
        check_fits(known, lambda spec: Serve(spec.context, 4), free=200 << 20)
    said = str(caught.value)
    assert "210 MB are free" in said or "0.2 GB are free" in said
    for part in ("weights", "KV cache", "activations", "runtime"):
        assert part in said
    assert "--ignore-key memory" in said
    with pytest.raises(FitError, match="optimizer"):
        check_fits(known, lambda spec: Tune("lora", 64, 512), free=200 << 20)
    insisting = known_of(tmp_path, ignore_keys=["memory"])
    check_fits(insisting, lambda spec: Serve(spec.context, 4), free=0)


def test_a_refused_model_reads_no_weight(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    read: list[int] = []
    with pytest.raises(FitError):
        load_parts(
            tmp_path,
            device="cpu",
            before=serving(128, 4, free=1 << 20),
            progress=lambda done, total: read.append(done),
        )
    assert read == []


def sparse_giant(folder: Path) -> None:
    """A checkpoint whose header promises 800 GB; on disk it is a hole."""
    config = {**known_configs()["llama3.1-405b"], "architectures": ["LlamaForCausalLM"]}
    spec, header, at = read_config(config), {}, 0
    table = name_table(spec)
    for name, parameter in build(spec).named_parameters():
        size = 2 * parameter.numel()
        shape = list(parameter.shape)
        header[table.by_ours(name).theirs] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(config)))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


@pytest.mark.skipif(sys.platform != "linux", reason="needs files with holes")
@pytest.mark.parametrize(
    "words",
    [["generate", "MODEL", "--prompt", "a"], ["chat", "MODEL", "--message", "a"]],
)
def test_the_command_line_refuses_in_three_lines(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "giant"
    sparse_giant(folder)
    command = [str(folder) if word == "MODEL" else word for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "puna", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs 81" in done.stderr
    assert "weights 811.7 GB" in done.stderr
    assert "--ignore-key memory" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_cache_is_what_memory_has_room_for() -> None:
    spec = read_config(dict(known_configs()["mistral-7b"]))
    each = kv_bytes_per_token(spec, bytes_per_value=2)

    def limit(free: float, **changes: Any) -> int:
        return cache_limit(spec, dtype=torch.bfloat16, device="cpu", free=int(free * GB), **changes)

    assert limit(5) == ROOM  # less than the weights alone: a conversation, as was checked before
    sizes = [limit(free) for free in (16, 17, 18, 19, 64)]
    assert sizes == sorted(sizes)
    assert ROOM < sizes[1] < sizes[-1]
    assert sizes[-1] == max(spec.context, (4 << 30) // each)
    assert limit(64, context=1024, batch=3) == 3072
    assert sizes[1] * each < 17 * GB


def test_a_small_cache_queues_and_says_the_same() -> None:
    spec, model = tiny()
    asked = [Request(str(n), tuple((n + i) % 61 for i in range(20)), 10) for n in range(8)]
    roomy = Engine(model, spec).run(asked)
    tight = Engine(model, spec, max_sequences=2, cache_tokens=2 * PAGE * 2, context=32).run(asked)
    assert [one.token_ids for one in tight] == [one.token_ids for one in roomy]


def test_limits_bound_the_longest_sequence(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    lm = puna.load(tmp_path, device="cpu", context=32, batch=2)
    done = lm.generate((1, 2, 3), max_tokens=500)
    assert len(done.ids) + 3 == 32
    with pytest.raises(puna.errors.ContextError):
        lm.generate(tuple(range(1, 40)), max_tokens=1)
    with pytest.raises(UsageError, match="batch"):
        puna.load(tmp_path, device="cpu", batch=0)


def test_a_tied_table_stands_on_the_first_and_the_last_device() -> None:
    sketch = sketch_of("gemma-2b")
    use = Serve(256)
    one, many = (
        parts_of(make_plan(sketch, use, device=PLENTY, machines=n))["weights"] for n in (1, 18)
    )
    table = 2 * sketch.spec.vocab * sketch.spec.width
    assert table < many < one


def test_memory_that_is_mapped_is_not_counted_twice() -> None:
    assert memory_of("cpu") < 1.05 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_notes_say_what_the_figures_rest_on() -> None:
    plan = make_plan(sketch_of("mixtral"), Tune("full", 128, 256), device=PLENTY)
    assert any("adapters" in note for note in plan.notes)
    assert any("experts" in note for note in plan.notes)
    blocks = replace(sketch_of("mistral-7b"), form="gguf", stored={"Q8_0": 7 * GB, "F32": 1000})
    plan = make_plan(blocks, Serve(128), device=PLENTY)
    assert any("Q8_0" in note for note in plan.notes)
    assert isinstance(sketch_of("mixtral").spec.layers[0].ffn, MoE)
    assert LLAMA["vocab_size"] == 61
