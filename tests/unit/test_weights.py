"""Checkpoints of every published layout into a decoder, and back to a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from puna.errors import FormatError, SourceError, WeightsError
from puna.families import GroupedQKV, name_table, read_config
from puna.model import Decoder, build
from puna.weights import checkpoint_dtype, load_into, open_checkpoint, save_folder
from puna.weights.layout import to_ours, to_theirs

Tensors = dict[str, torch.Tensor]

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FALCON: dict[str, Any] = {
    "model_type": "falcon",
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_kv_heads": 2,
    "new_decoder_architecture": True,
    "max_position_embeddings": 64,
    "bias": True,
}


def published(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> Tensors:
    """Return random tensors under their published names; a tied head is not among them."""
    spec = read_config(config)
    table, generator = name_table(spec), torch.Generator().manual_seed(5)
    return {
        table.by_ours(name).theirs: torch.randn(p.shape, generator=generator).to(dtype)
        for name, p in build(spec).named_parameters()
    }


def load(
    folder: Path, config: dict[str, Any], dtype: torch.dtype = torch.float32, **more: Any
) -> Decoder:
    spec = read_config(config)
    module = build(spec, dtype=dtype)
    checkpoint = open_checkpoint(folder)
    load_into(module, checkpoint, name_table(spec), device="cpu", **more)
    return module


def held(module: Decoder, config: dict[str, Any]) -> Tensors:
    """Return a module's tensors under published names, in OUR row order."""
    table = name_table(read_config(config))
    return {table.by_ours(name).theirs: p.detach() for name, p in module.named_parameters()}


def assert_same(got: Tensors, want: Tensors) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


def halves(tensors: Tensors) -> tuple[Tensors, Tensors]:
    names = list(tensors)
    middle = len(names) // 2
    return {n: tensors[n] for n in names[:middle]}, {n: tensors[n] for n in names[middle:]}


def write(folder: Path, tensors: Tensors, form: str) -> None:
    folder.mkdir(exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False} if "legacy" in form else {}
    if form == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    elif form in {"bin", "bin-legacy"}:
        torch.save(tensors, folder / "pytorch_model.bin", **legacy)
    else:
        kind, suffix = ("model", "safetensors") if "safe" in form else ("pytorch_model", "bin")
        index = {}
        for number, part in enumerate(halves(tensors), 1):
            file = folder / f"{kind}-{number:05d}-of-00002.{suffix}"
            if suffix == "bin":
                torch.save(part, file, **legacy)
            else:
                save_file(part, file)
            index.update(dict.fromkeys(part, file.name))
        (folder / f"{kind}.{suffix}.index.json").write_text(json.dumps({"weight_map": index}))


FORMS = ("safetensors", "safetensors-shards", "bin", "bin-legacy", "bin-shards")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file_gives_the_same_parameters(tmp_path: Path, form: str) -> None:
    tensors = published(LLAMA)
    write(tmp_path, tensors, form)
    assert_same(held(load(tmp_path, LLAMA), LLAMA), tensors)


def test_safetensors_come_before_bin_and_one_file_before_shards(tmp_path: Path) -> None:
    right = published(LLAMA)
    wrong = {name: tensor + 1 for name, tensor in right.items()}
    for form in ("bin", "bin-shards", "safetensors-shards"):
        write(tmp_path, wrong, form)
    write(tmp_path, right, "safetensors")
    assert_same(held(load(tmp_path, LLAMA), LLAMA), right)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_a_dtype_is_converted_and_auto_is_the_files_own(
    tmp_path: Path, form: str, stored: torch.dtype
) -> None:
    tensors = published(LLAMA, stored)
    write(tmp_path, tensors, form)
    for dtype in (torch.float32, torch.bfloat16, stored):
        got = held(load(tmp_path, LLAMA, dtype), LLAMA)
        assert_same(got, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    auto = {torch.float16: "float16", torch.bfloat16: "bfloat16"}.get(stored, "float32")
    assert checkpoint_dtype(open_checkpoint(tmp_path)) == auto


@pytest.mark.parametrize("form", ["safetensors", "bin", "bin-legacy"])
def test_a_file_of_mixed_dtypes_and_odd_offsets_is_read(tmp_path: Path, form: str) -> None:
    """Pages are let go while neighbors are still to be read, and views off the grid are copied."""
    tensors = published({**LLAMA, "hidden_size": 64, "vocab_size": 999})
    wide = {n: t.to(torch.bfloat16) if i % 3 else t for i, (n, t) in enumerate(tensors.items())}
    wide["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3, dtype=torch.bfloat16)
    write(tmp_path, wide, form)
    if form == "safetensors":  # push the data to an odd address, as old writers did
        raw = (tmp_path / "model.safetensors").read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = raw[8 : 8 + length] + b" "
        moved = (length + 1).to_bytes(8, "little") + header + raw[8 + length :]
        (tmp_path / "model.safetensors").write_bytes(moved)
    config = {**LLAMA, "hidden_size": 64, "vocab_size": 999}
    for dtype in (torch.float32, torch.bfloat16):
        got = held(load(tmp_path, config, dtype), config)
        assert_same(got, {name: wide[name].to(dtype) for name in tensors})


def test_a_parameter_is_a_view_of_the_file_and_writing_changes_no_file(tmp_path: Path) -> None:
    write(tmp_path, published(LLAMA), "safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    module = load(tmp_path, LLAMA)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_tied_head_may_be_there_or_not(tmp_path: Path) -> None:
    config = {**LLAMA, "tie_word_embeddings": True}
    tensors = published(config)
    assert "lm_head.weight" not in tensors
    write(tmp_path / "without", tensors, "safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    write(tmp_path / "with", {**tensors, "lm_head.weight": head}, "safetensors")
    seen: list[tuple[int, int]] = []
    for name in ("without", "with"):
        module = load(tmp_path / name, config, progress=lambda *at: seen.append(at))
        assert_same(held(module, config), tensors)
        assert seen[-1][0] == seen[-1][1] > 0


def test_a_head_that_is_not_tied_must_be_there(tmp_path: Path) -> None:
    tensors = published(LLAMA)
    del tensors["lm_head.weight"]
    write(tmp_path, tensors, "safetensors")
    with pytest.raises(WeightsError, match=r"missing: 'lm_head\.weight'"):
        load(tmp_path, LLAMA)


def test_names_may_leave_out_the_prefix_but_not_stand_twice(tmp_path: Path) -> None:
    tensors = published(LLAMA)
    short = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    write(tmp_path, short, "safetensors")
    assert_same(held(load(tmp_path, LLAMA), LLAMA), tensors)
    write(tmp_path, {**short, "model.norm.weight": torch.ones(24)}, "safetensors")
    with pytest.raises(WeightsError, match="twice"):
        load(tmp_path, LLAMA)


def refusal(folder: Path, tensors: Tensors, form: str = "safetensors") -> str:
    write(folder, tensors, form)
    with pytest.raises(WeightsError) as caught:
        load(folder, LLAMA)
    assert len(str(caught.value).splitlines()) <= 3
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["safetensors", "bin", "bin-legacy"])
def test_tensors_missing_left_over_misshapen_or_quantized_are_named(
    tmp_path: Path, form: str
) -> None:
    name, tensors = "model.layers.1.mlp.up_proj.weight", published(LLAMA)
    without = {n: t for n, t in tensors.items() if n != name}
    assert f"missing: '{name}'" in refusal(tmp_path, without, form)
    extra = {**tensors, "model.layers.3.mlp.up_proj.weight": tensors[name].clone()}
    assert "a place" in refusal(tmp_path, extra, form)
    assert "'model.layers.3.mlp.up_proj.weight'" in refusal(tmp_path, extra, form)
    wrong = refusal(tmp_path, {**tensors, name: tensors[name].T.contiguous()}, form)
    assert f"'{name}'" in wrong
    assert "[24, 40]" in wrong
    assert "[40, 24]" in wrong
    quantized = refusal(tmp_path, {**tensors, name: tensors[name].to(torch.int8)}, form)
    assert f"'{name}'" in quantized
    assert "quantized" in quantized


def test_a_dtype_of_quantized_weights_is_refused(tmp_path: Path) -> None:
    tensors = published(LLAMA)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.float8_e4m3fn)
    write(tmp_path, tensors, "safetensors")
    with pytest.raises(FormatError, match=r"F8_E4M3[^\0]*not quantized"):
        load(tmp_path, LLAMA)


def test_many_missing_tensors_are_five_and_a_count(tmp_path: Path) -> None:
    tensors = published(LLAMA)
    text = refusal(tmp_path, {"model.norm.weight": tensors["model.norm.weight"]})
    assert f"and {len(tensors) - 6} more" in text


def test_a_folder_without_weights_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        open_checkpoint(tmp_path)


def naive_rows(layout: GroupedQKV) -> list[int]:
    """Return, for each of our rows, the published row it is: per group queries, key, value."""
    size = layout.heads_per_kv + 2
    heads = [g * size + h for g in range(layout.kv_heads) for h in range(layout.heads_per_kv)]
    heads += [g * size + size - 2 for g in range(layout.kv_heads)]
    heads += [g * size + size - 1 for g in range(layout.kv_heads)]
    return [head * layout.head_dim + row for head in heads for row in range(layout.head_dim)]


@pytest.mark.parametrize("layout", [GroupedQKV(1, 7, 4), GroupedQKV(3, 1, 5), GroupedQKV(2, 4, 3)])
@pytest.mark.parametrize("tail", [(), (6,)])
def test_fused_rows_go_there_and_back(layout: GroupedQKV, tail: tuple[int, ...]) -> None:
    rows = naive_rows(layout)
    theirs = torch.randn(len(rows), *tail)
    ours = to_ours(theirs, layout)
    assert torch.equal(ours, theirs[rows])
    assert torch.equal(to_theirs(ours, layout), theirs)


@pytest.mark.parametrize("form", FORMS)
def test_a_fused_checkpoint_is_reordered_at_load_and_back_at_save(
    tmp_path: Path, form: str
) -> None:
    tensors = published(FALCON)
    write(tmp_path / "in", tensors, form)
    module = load(tmp_path / "in", FALCON)
    rows = naive_rows(GroupedQKV(2, 3, 4))
    fused = [name for name in tensors if "query_key_value" in name]
    assert len(fused) == 4
    assert_same(
        held(module, FALCON),
        {name: t[rows] if name in fused else t for name, t in tensors.items()},
    )
    save_folder(module, name_table(read_config(FALCON)), tmp_path / "out", config=FALCON)
    assert_same(load_file(tmp_path / "out" / "model.safetensors"), tensors)


def stored(folder: Path) -> Tensors:
    """Return what the reference library finds in a folder, by index or in the one file."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return load_file(folder / "model.safetensors")
    body = json.loads(index.read_text())
    found: Tensors = {}
    for file in sorted(set(body["weight_map"].values())):
        part = load_file(folder / file)
        assert all(body["weight_map"][name] == file for name in part)
        found |= part
    assert body["metadata"]["total_size"] == sum(t.nbytes for t in found.values())
    return found


def weight_files(folder: Path) -> Iterable[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "config.json")


SAVES = [10**9, 9_000, 9_000, 12_000, 10**9]


@pytest.mark.parametrize("config", [LLAMA, FALCON], ids=["llama", "falcon"])
def test_saving_over_the_folder_the_weights_are_mapped_from(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    """Single, sharded, other shards, single again; nothing of an older save stays behind."""
    tensors = published(config)
    write(tmp_path, tensors, "safetensors")
    table = name_table(read_config(config))
    for shard_bytes in SAVES:
        module = load(tmp_path, config)
        save_folder(module, table, tmp_path, config=config, shard_bytes=shard_bytes)
        assert_same(stored(tmp_path), tensors)
        assert_same(held(load(tmp_path, config), config), held(module, config))
        named = set(weight_files(tmp_path))
        index = tmp_path / "model.safetensors.index.json"
        if shard_bytes < 10**9:
            shards = set(json.loads(index.read_text())["weight_map"].values())
            assert len(shards) > 2
            assert named == {index.name, *shards}
            assert all((tmp_path / s).stat().st_size < shard_bytes + 4_000 for s in shards)
        else:
            assert named == {"model.safetensors"}


def test_a_sharded_save_that_fails_leaves_the_old_model_and_nothing_else(tmp_path: Path) -> None:
    tensors, spec = published(LLAMA), read_config(LLAMA)
    write(tmp_path, tensors, "safetensors")
    save_folder(load(tmp_path, LLAMA), name_table(spec), tmp_path, config=LLAMA, shard_bytes=9_000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = build(spec, device="cpu")
    broken.norm.to("meta")  # the last tensors of the walk cannot be written
    with pytest.raises(NotImplementedError):
        save_folder(broken, name_table(spec), tmp_path, config=LLAMA, shard_bytes=9_000)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_save_converts_and_says_so(tmp_path: Path) -> None:
    tensors = published(LLAMA)
    write(tmp_path, tensors, "safetensors")
    module = load(tmp_path, LLAMA)
    config = {**LLAMA, "torch_dtype": "float32", "note": "é \ud800"}
    save_folder(
        module, name_table(read_config(LLAMA)), tmp_path, config=config, dtype=torch.bfloat16
    )
    assert_same(stored(tmp_path), {n: t.to(torch.bfloat16) for n, t in tensors.items()})
    said = json.loads((tmp_path / "config.json").read_text())
    assert said == {**LLAMA, "note": "é \ud800", "dtype": "bfloat16"}


@pytest.mark.parametrize("shard_bytes", [10**9, 9_000])
@pytest.mark.parametrize("config", [LLAMA, FALCON], ids=["llama", "falcon"])
def test_a_saved_folder_loads_in_transformers(
    tmp_path: Path, config: dict[str, Any], shard_bytes: int
) -> None:
    from transformers import AutoModelForCausalLM

    tensors = published(config, torch.bfloat16)
    write(tmp_path / "in", tensors, "bin")
    table = name_table(read_config(config))
    module = load(tmp_path / "in", config, torch.bfloat16)
    save_folder(module, table, tmp_path / "out", config=config, shard_bytes=shard_bytes)
    theirs, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report.values())
    state = theirs.state_dict()
    assert theirs.dtype == torch.bfloat16
    assert_same({name: state[name] for name in tensors}, tensors)
