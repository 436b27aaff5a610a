"""Tensors that stand otherwise in files: transposed, several in one, and experts in MXFP4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from puna.errors import WeightsError
from puna.families import Slice, Transposed
from puna.loading import load_parts
from puna.quant import dequantize_mxfp4
from puna.weights import open_checkpoint, save_folder, to_ours, to_theirs
from puna.weights.layout import assemble, their_shape
from puna.weights.mxfp4 import Stack
from tests.parity.forms import FORMS

_LAYER = "model.layers.1.mlp.experts."


def _make(name: str, folder: Path) -> Any:
    return next(form for form in FORMS if form.id == name).make(folder)


def test_a_transposed_matrix_is_a_view() -> None:
    stored = torch.arange(6.0).view(2, 3)
    ours = to_ours(stored, Transposed())
    assert ours.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert ours.data_ptr() == stored.data_ptr()
    assert torch.equal(to_theirs(ours, Transposed()), stored)
    assert their_shape(ours.shape, [Transposed()]) == (2, 3)
    bias = torch.arange(3.0)
    assert to_ours(bias, Transposed()) is bias


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_slices_come_apart_and_together(transposed: bool, bias: bool) -> None:
    """Rows of gate and up take turns, for each of three experts."""
    whole = torch.randn((3, 8) if bias else (3, 5, 8) if transposed else (3, 8, 5))
    slices = [Slice(e, at, 2, transposed) for at in (0, 1) for e in range(3)]
    parts = [(to_ours(whole, part), part) for part in slices]
    for ours, part in parts:
        for row in range(4):
            at = part.start + 2 * row
            one = whole[part.index]
            want = one[:, at] if transposed and not bias else one[at]
            assert torch.equal(ours[row], want)
    assert their_shape(parts[0][0].shape, slices) == whole.shape
    assert torch.equal(assemble(parts), whole)


def test_gpt2_is_mapped_not_copied(tmp_path: Path) -> None:
    _make("gpt2-6-heads", tmp_path)
    parts = load_parts(tmp_path, device="cpu")
    linear = parts.model.layers[0].attn.project.qkv
    stored = load_file(tmp_path / "model.safetensors")["transformer.h.0.attn.c_attn.weight"]
    assert torch.equal(linear.weight, stored.T)
    assert not linear.weight.is_contiguous()


def test_the_first_gpt2_files_have_no_prefix_and_masks_beside_the_weights(tmp_path: Path) -> None:
    _make("gpt2-6-heads", tmp_path)
    want = load_parts(tmp_path, device="cpu").model.state_dict()
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    for layer in range(3):
        bare[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
        bare[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(bare, tmp_path / "model.safetensors")
    got = load_parts(tmp_path, device="cpu").model.state_dict()
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_a_stack_of_another_size_is_refused(tmp_path: Path) -> None:
    _make("gpt-oss", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[f"{_LAYER}down_proj"] = tensors[f"{_LAYER}down_proj"][:4].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"down_proj.*\[4, 64, 32\].*\[5, 64, 32\]"):
        load_parts(tmp_path, device="cpu")


def test_layers_that_guess_ahead_stay_unread(tmp_path: Path) -> None:
    _make("deepseek-v3-groups", tmp_path)
    want = load_parts(tmp_path, device="cpu").model.state_dict()
    tensors = load_file(tmp_path / "model.safetensors")
    again = {n.replace("layers.2.", "layers.3."): t.clone() for n, t in tensors.items()}
    ahead = {name: tensor for name, tensor in again.items() if ".layers.3." in name}
    ahead["model.layers.3.eh_proj.weight"] = torch.zeros(40, 80)
    save_file(tensors | ahead, tmp_path / "model.safetensors")
    got = load_parts(tmp_path, device="cpu").model.state_dict()
    assert all(torch.equal(got[name], want[name]) for name in want)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"num_nextn_predict_layers": 0}
    config.pop("num_mtp_layers", None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"layers\.3\."):
        load_parts(tmp_path, device="cpu")


# Every byte under every scale: [255 scales, 16 blocks, 16 bytes]. Scale 255 stands for no number.
_BYTES = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(255, -1, -1)
_SCALES = torch.arange(255, dtype=torch.uint8)[:, None].expand(-1, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_mxfp4_equals_the_reference_in_every_byte(dtype: torch.dtype) -> None:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    got = dequantize_mxfp4(_BYTES, _SCALES, dtype)
    want = convert_moe_packed_tensors(_BYTES[:, None], _SCALES[:, None], dtype=dtype)
    assert got.dtype == dtype
    assert torch.equal(got, want[:, :, 0])


def test_mxfp4_in_slices_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dequantize_mxfp4(_BYTES, _SCALES, torch.bfloat16)
    monkeypatch.setattr("puna.quant.mxfp4._SLICE", 7)
    assert torch.equal(dequantize_mxfp4(_BYTES, _SCALES, torch.bfloat16), whole)


def test_a_stack_unpacks_rows_of_an_expert() -> None:
    blocks = torch.randint(256, (3, 6, 2, 16), dtype=torch.uint8)
    scales = torch.randint(100, 140, (3, 6, 2), dtype=torch.uint8)
    stack = Stack(blocks, scales)
    assert stack.shape == (3, 64, 6)
    whole = dequantize_mxfp4(blocks, scales, torch.float32).transpose(1, 2)
    for layout in (Slice(e, at, 2, True) for e in range(3) for at in (0, 1)):
        got = stack.part(layout, torch.float32)
        assert torch.equal(got, to_ours(whole, layout))
        assert got.is_contiguous()


def test_a_folder_in_mxfp4_is_bfloat16_and_is_saved_as_such(tmp_path: Path) -> None:
    _make("gpt-oss-mxfp4", tmp_path / "packed")
    tensors = load_file(tmp_path / "packed" / "model.safetensors")
    halves = {n: t.bfloat16() if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(halves, tmp_path / "packed" / "model.safetensors")
    seen: list[tuple[int, int]] = []
    parts = load_parts(
        tmp_path / "packed", device="cpu", progress=lambda done, total: seen.append((done, total))
    )
    assert parts.model.dtype == torch.bfloat16
    assert seen[-1][0] == seen[-1][1] == sum(t.nbytes for t in halves.values())
    save_folder(parts.model, parts.table, tmp_path / "plain", config=parts.config)
    assert "quantization_config" not in json.loads((tmp_path / "plain/config.json").read_text())
    saved = load_file(tmp_path / "plain" / "model.safetensors")
    stack = Stack(halves[f"{_LAYER}down_proj_blocks"], halves[f"{_LAYER}down_proj_scales"])
    want = torch.stack([stack.part(Slice(e), torch.bfloat16).T for e in range(5)])
    assert torch.equal(saved[f"{_LAYER}down_proj"], want)
    again = load_parts(tmp_path / "plain", device="cpu").model.state_dict()
    loaded = parts.model.state_dict()
    assert all(torch.equal(again[name], loaded[name]) for name in loaded)


def _shards(folder: Path, tensors: dict[str, Tensor], apart: str) -> None:
    """Write two shards, those tensors in the second whose names contain `apart`."""
    (folder / "model.safetensors").unlink()
    files = {name: f"model-{2 if apart in name else 1}.safetensors" for name in tensors}
    for file in set(files.values()):
        part = {name: tensor for name, tensor in tensors.items() if files[name] == file}
        save_file(part, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def test_halves_may_stand_in_different_shards(tmp_path: Path) -> None:
    _make("gpt-oss-mxfp4", tmp_path)
    want = load_parts(tmp_path, device="cpu").model.state_dict()
    _shards(tmp_path, load_file(tmp_path / "model.safetensors"), "down_proj_scales")
    got = load_parts(tmp_path, device="cpu").model.state_dict()
    assert all(torch.equal(got[name], want[name]) for name in want)


def _narrow(tensor: Tensor) -> Tensor:
    return tensor[..., :1].clone()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"down_proj_scales": None}, "down_proj_scales' is missing"),
        ({"gate_up_proj_blocks": None}, "gate_up_proj_blocks' is missing"),
        ({"down_proj_blocks": None, "down_proj_scales": None}, "missing: .*down_proj'"),
        ({"down_proj_scales": _narrow}, "do not make up MXFP4"),
        ({"down_proj_blocks": lambda t: t[..., :8].clone()}, "do not make up MXFP4"),
        ({"down_proj_blocks": lambda t: t.flatten(2)}, "do not make up MXFP4"),
        ({"down_proj_blocks": lambda t: t.to(torch.int8)}, "do not make up MXFP4"),
        ({"down_proj_scales": lambda t: t.float()}, "do not make up MXFP4"),
        (
            {
                "down_proj_blocks": lambda t: t[:3].clone(),
                "down_proj_scales": lambda t: t[:3].clone(),
            },
            r"\[3, 64, 32\]",
        ),
        (
            {"gate_up_proj_blocks": _narrow, "gate_up_proj_scales": lambda t: t.flatten()},
            "do not make up MXFP4",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_pairs_are_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    _make("gpt-oss-mxfp4", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name, how in change.items():
        tensor = tensors.pop(_LAYER + name)
        if how is not None:
            tensors[_LAYER + name] = how(tensor)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=named) as caught:
        load_parts(tmp_path, device="cpu")
    assert len(str(caught.value).splitlines()) <= 3


def test_both_forms_of_one_tensor_are_refused(tmp_path: Path) -> None:
    _make("gpt-oss-mxfp4", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[f"{_LAYER}down_proj"] = torch.zeros(5, 64, 32)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="stands there twice"):
        load_parts(tmp_path, device="cpu")
    assert f"{_LAYER}down_proj_blocks" in open_checkpoint(tmp_path).names
