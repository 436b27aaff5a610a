"""Packed weights: every packer against plain loops, every kernel against unpacked products."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from puna.errors import FormatError, UsageError, WeightsError
from puna.formats import GGML_TYPES, PACKINGS, REPACKED, packed_bytes, repacked_bits
from puna.loading import load_parts
from puna.model import KERNELS, PLAIN, Decoder, Kernel, PackedWeight, choose_kernel
from puna.quant import (
    LEVELS,
    NF4,
    Grouped,
    Packed,
    RowWise,
    bits_per_weight,
    dequantize,
    from_tensors,
    nibbles,
    pack,
    pack_fed,
    pair_nibbles,
    repack,
    shape_of,
    tensors_of,
    unpack,
)
from puna.spec import MoE
from puna.weights import put
from tests.parity.forms import FORMS, Form
from tests.unit.gguf_forms import config_of, logits, model_of

KINDS = tuple(PACKINGS)


def drawn(rows: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator) * 0.05


def some(kind: str, rows: int, width: int, seed: int = 0) -> Packed:
    """A record with random codes, scales of either sign and, in some, lows."""
    generator = torch.Generator().manual_seed(seed)

    def codes(low: int, high: int, dtype: torch.dtype) -> Tensor:
        return torch.randint(low, high, (rows, width), generator=generator).to(dtype)

    def scales(group: int) -> Tensor:
        return (torch.randn(rows, width // group, generator=generator) * 0.02).half()

    if kind == "rows":
        return RowWise(codes(-127, 128, torch.int8), scales(width)[:, 0].float().abs())
    if kind == "nf4":
        return NF4(pair_nibbles(codes(0, 16, torch.uint8)), scales(64).abs())
    bits, group, low = kind.split("-")
    wide = codes(-128, 128, torch.int8)
    packed = wide if bits == "8" else pair_nibbles((wide & 15).to(torch.uint8))
    return Grouped(packed, scales(int(group)), scales(int(group)) if low == "low" else None)


RECORDS = ("rows", "nf4", "4-32-none", "4-32-low", "4-16-low", "8-32-none", "8-16-low", "4-64-none")


def by_loop(packed: Packed) -> Tensor:
    """What a record stands for, value by value, in double precision."""
    rows, width = shape_of(packed)
    out = torch.empty(rows, width, dtype=torch.float64)
    for n in range(rows):
        for k in range(width):
            if isinstance(packed, RowWise):
                out[n, k] = float(packed.scale[n]) * int(packed.codes[n, k])
                continue
            if packed.codes.dtype == torch.uint8:
                byte = int(packed.codes[n, k // 2])
                code = byte >> 4 if k % 2 else byte & 15
            else:
                code = int(packed.codes[n, k])
            if isinstance(packed, NF4):
                out[n, k] = float(packed.absmax[n, k // 64]) * LEVELS[code]
                continue
            group = k // packed.group
            if packed.low is None:
                zero = 8 if packed.bits == 4 else 0
                out[n, k] = float(packed.scale[n, group]) * (code - zero)
            else:
                low = float(packed.low[n, group])
                out[n, k] = float(packed.scale[n, group]) * code + low
    return out


@pytest.mark.parametrize("kind", RECORDS)
def test_unpacking_is_what_the_formula_says(kind: str) -> None:
    packed = some(kind, 5, 128)
    want = by_loop(packed)
    assert (unpack(packed).double() - want).abs().max() <= 1e-7 * want.abs().max()
    again = from_tensors(tensors_of(packed))
    assert type(again) is type(packed)
    assert torch.equal(unpack(again), unpack(packed))


def test_nibbles_are_neighbors_low_half_first() -> None:
    codes = torch.tensor([[1, 2, 15, 0]], dtype=torch.uint8)
    assert pair_nibbles(codes).tolist() == [[0x21, 0x0F]]
    assert torch.equal(nibbles(pair_nibbles(codes)), codes)


def test_int8_by_a_loop() -> None:
    weight = drawn(7, 40)
    weight[3] = 0
    packed = pack(weight, "int8")
    assert isinstance(packed, RowWise)
    for n, row in enumerate(weight):
        scale = float(row.abs().max()) / 127
        assert float(packed.scale[n]) == pytest.approx(scale)
        want = [round(float(x) / scale) if scale else 0 for x in row]
        assert np.abs(packed.codes[n].numpy() - np.array(want)).max() <= 0
    assert bits_per_weight(packed) == 8 + 32 / 40


def test_nf4_by_a_loop() -> None:
    weight = drawn(4, 128)
    packed = pack(weight, "nf4")
    assert isinstance(packed, NF4)
    codes = nibbles(packed.codes)
    for n in range(4):
        for g in range(2):
            part = weight[n, 64 * g : 64 * g + 64]
            scale = float(part.abs().max().half())
            assert float(packed.absmax[n, g]) == scale
            for k, x in enumerate(part.tolist()):
                errors = [abs(x / scale - level) for level in LEVELS]
                assert errors[int(codes[n, 64 * g + k])] <= min(errors) + 1e-6
    assert bits_per_weight(packed) == 4.25


def test_int4_errs_little_more_than_the_best_of_many_scales() -> None:
    """And always less than scales by the largest value do, as those of Q4_0."""
    weight = drawn(8, 64, seed=3)
    packed = pack(weight, "int4")
    assert isinstance(packed, Grouped)
    assert (packed.bits, packed.group, packed.low) == (4, 32, None)
    assert bits_per_weight(packed) == 4.5
    errors = (unpack(packed) - weight).square().view(8, 2, 32).sum(2)
    total = best = plain = 0.0
    for n in range(8):
        for g in range(2):
            x = weight[n, 32 * g : 32 * g + 32]
            top = float(x[x.abs().argmax()])
            tried = [sign * top / reach for reach in np.linspace(5, 10, 200) for sign in (1, -1)]
            all_ = [float((x - (x / s).round().clamp(-8, 7) * s).square().sum()) for s in tried]
            s = top / -8
            plain += float((x - (x / s).round().clamp(-8, 7) * s).square().sum())
            best += min(all_)
            total += float(errors[n, g])
    assert total <= 1.08 * best
    assert total <= 0.95 * plain


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_that_knows_its_inputs_errs_less_on_them(kind: str) -> None:
    weight = drawn(24, 128)
    mixing = drawn(128, 128, seed=1) + 0.05
    x = drawn(600, 128, seed=2) @ mixing  # columns that depend on each other
    fed = unpack(pack_fed(weight, x.t() @ x, kind))
    blind = unpack(pack(weight, kind))
    errors = [float((x @ (w - weight).t()).norm()) for w in (fed, blind)]
    assert errors[0] < 0.8 * errors[1]
    unfed = pack_fed(weight, torch.zeros(128, 128), kind)  # an expert that no token reached
    assert torch.equal(unpack(unfed), blind)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_as_planned(kind: str) -> None:
    for rows, width in ((12, 128), (5, 96), (7, 40)):
        packed = pack(drawn(rows, width), kind)
        held = sum(t.nbytes for t in tensors_of(packed).values())
        assert packed_bytes(kind, rows, width) == held


def test_rows_that_fill_no_groups_are_packed_by_row() -> None:
    assert isinstance(pack(drawn(3, 40), "int4"), RowWise)
    assert isinstance(pack(drawn(3, 96), "nf4"), RowWise)
    huge = drawn(3, 64) * 1e7  # a scale beyond float16
    assert isinstance(pack(huge, "int4"), RowWise)
    assert (unpack(pack(huge, "int4")) - huge).abs().max() <= huge.abs().max() / 253


def test_what_cannot_be_packed() -> None:
    for odd in (math.nan, math.inf):
        weight = drawn(3, 64)
        weight[1, 5] = odd
        for kind in KINDS:
            with pytest.raises(WeightsError, match="not finite"):
                pack(weight, kind)
    with pytest.raises(UsageError, match="int3"):
        pack(drawn(3, 64), "int3")
    with pytest.raises(WeightsError, match="fed values"):
        pack_fed(drawn(3, 64), torch.full((64, 64), math.nan), "int4")


def test_tensors_that_make_up_no_record() -> None:
    good = tensors_of(some("4-32-low", 4, 64))
    for change in (
        {"scale": good["scale"].float()},
        {"scale": good["scale"][:3]},
        {"scale": good["scale"][:, :0]},
        {"low": good["low"][:, :1]},
        {"codes": good["codes"].to(torch.int16)},
        {"codes": good["codes"][0]},
        {"absmax": good["scale"]},
    ):
        with pytest.raises(FormatError):
            from_tensors({**good, **change})
    with pytest.raises(FormatError, match="none"):
        from_tensors({"codes": good["codes"]})


def sane_blocks(kind: str, count: int) -> Tensor:
    """Random blocks whose scales are finite and of a usual size."""
    block = GGML_TYPES[kind]
    generator = torch.Generator().manual_seed(block.id)
    raw = torch.randint(0, 256, (count, block.bytes), generator=generator, dtype=torch.uint8)
    tops = {"Q2_K": [81, 83], "Q3_K": [109], "Q6_K": [209]}
    both = kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K")
    for byte in tops.get(kind, [1, 3] if both else [1]):
        raw[:, byte] = (raw[:, byte] & 0x83) | 0x28
    return raw.view(-1)


@pytest.mark.parametrize("kind", REPACKED)
def test_blocks_repacked_keep_their_values(kind: str) -> None:
    raw = sane_blocks(kind, 6 * 512 // GGML_TYPES[kind].values)
    want, packed = dequantize(raw, kind, (6, 512)), repack(raw, kind, (6, 512))
    assert packed is not None
    assert bits_per_weight(packed) == repacked_bits(kind)
    assert (packed.bits, packed.group, packed.low is not None) == REPACKED[kind]
    got = unpack(packed)
    if not kind.endswith("_K"):
        assert torch.equal(got, want)
        return
    # A scale and a low are rounded to float16 each: half of 2⁻¹⁰ of what either amounts to.
    scale = packed.scale.float().abs().amax() * (15 if packed.bits == 4 else 32)
    low = 0.0 if packed.low is None else packed.low.float().abs().amax()
    assert (got - want).abs().max() <= (scale + low) * 2**-11
    assert (got - want).norm() <= 5e-4 * want.norm()


def test_blocks_that_cannot_be_repacked() -> None:
    raw = sane_blocks("Q4_0", 4 * 2)
    assert repack(raw, "IQ4_NL", (4, 64)) is None
    raw.view(-1, 18)[3, :2] = 255  # a scale that is no number
    assert repack(raw, "Q4_0", (4, 64)) is None


def kernels_for(packed: Packed) -> list[Kernel]:
    return [kernel for kernel in KERNELS if kernel.takes(packed, torch.float32)]


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(RECORDS),
    rows=st.integers(1, 70),
    groups=st.integers(1, 5),
    count=st.integers(1, 20),
    bias=st.booleans(),
    half=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_kernel_multiplies_by_the_unpacked_matrix(
    kind: str, rows: int, groups: int, count: int, bias: bool, half: bool, seed: int
) -> None:
    """Within float32 or bfloat16 where weights alone are rounded, within 2 % where inputs are."""
    packed = some(kind, rows, 64 * groups, seed)
    dtype = torch.bfloat16 if half else torch.float32
    x = (drawn(count, 64 * groups, seed + 1) * 20).to(dtype)
    extra = drawn(1, rows, seed + 2)[0].to(dtype) if bias else None
    weight = unpack(packed).double()
    want = F.linear(x.double(), weight, None if extra is None else extra.double())
    scale = x.double().norm(dim=1, keepdim=True) * weight.norm(dim=1)
    for kernel in kernels_for(packed):
        held = PackedWeight(packed, dtype, kernel)
        got = held.product(x, extra)
        assert got.dtype == dtype
        assert got.shape == want.shape
        exact = 2**-7 if half else 1e-5
        allowed = exact if kernel is PLAIN else exact + 0.02
        room = allowed * scale + (2**-8 * want.abs() if half else 0) + 1e-6
        assert ((got.double() - want).abs() <= room).all(), kernel.name
        for name, tensor in tensors_of(held.packed).items():
            assert torch.equal(tensor, tensors_of(packed)[name]), (kernel.name, name)


@pytest.mark.parametrize("kind", RECORDS)
def test_gradients_flow_to_the_input_alone(kind: str) -> None:
    packed = some(kind, 33, 128)
    weight = unpack(packed)
    for kernel in kernels_for(packed):
        x = (drawn(9, 128, 5) * 20).requires_grad_()
        out = PackedWeight(packed, torch.float32, kernel).product(x, None)
        seed = drawn(9, 33, 6)
        out.backward(seed)
        assert x.grad is not None
        assert (x.grad - seed @ weight).norm() <= 1e-5 * x.grad.norm()


def test_a_table_is_looked_up_and_multiplied_by() -> None:
    packed = pack(drawn(50, 64), "int8")
    kernel = choose_kernel(packed, torch.float32, table=True)
    held = PackedWeight(packed, torch.float32, kernel)
    ids = torch.tensor([3, 0, 49, 3])
    assert torch.equal(held.rows(ids), unpack(packed)[ids])
    x = drawn(4, 64, 1)
    assert (held.product(x, None) - x @ unpack(packed).t()).norm() < 0.02 * x.norm()


def packed_weights(model: Decoder) -> dict[str, PackedWeight]:
    return {n: m for n, m in model.named_modules() if isinstance(m, PackedWeight)}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
def test_a_packed_model_is_the_model_with_unpacked_weights(form: Form, tmp_path: Path) -> None:
    """Of every form and format; with inputs rounded to 8 bits a few percent off, where dense."""
    torch.manual_seed(0)
    whole = model_of(config_of(form), tmp_path / "model")
    bare = logits(whole)
    sparse = any(isinstance(layer.ffn, MoE) for layer in whole.spec.layers)
    for kind in KINDS:
        parts = load_parts(tmp_path / "model", quant=kind, device="cpu")
        found = packed_weights(parts.model)
        assert set(found) == set(parts.model.packable())
        assert parts.stored == kind
        fast = logits(parts)
        for name, held in found.items():
            put(parts.model, name, PackedWeight(held.packed, held.dtype))
        plain = logits(parts)
        for name, held in found.items():
            values = nn.Parameter(held.numbers(), requires_grad=False)
            put(parts.model, name, values)
        want = logits(parts)
        assert (plain - want).norm() <= 1e-4 * want.norm()
        off = (fast - want).norm() / want.norm()
        # Of random experts a rounded input picks others, and what it then says is another thing.
        assert sparse or off <= 0.08
        assert (want - bare).norm() >= 1e-4 * bare.norm()  # it was packed


def test_the_fields_are_frozen() -> None:
    packed = pack(drawn(4, 64), "int8")
    with pytest.raises(AttributeError):
        packed.scale = torch.zeros(4)  # type: ignore[misc]
    assert replace(packed, scale=packed.scale * 2) is not packed
