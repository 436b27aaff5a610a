"""Block formats against the `gguf` package, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf import quants as reference

from puna.errors import FormatError, UsageError
from puna.formats import GGML_TYPES
from puna.quant import ENCODABLE, NATIVE, PLAIN, dequantize, quantize

LIBRARY = tuple(sorted(set(GGML_TYPES) - set(NATIVE) - set(PLAIN)))


def blocks(kind: str, count: int) -> np.ndarray:
    """Random bytes: every code, and scales of every sort, infinities and NaN among them."""
    generator = np.random.default_rng(GGML_TYPES[kind].id)
    return generator.integers(0, 256, (count, GGML_TYPES[kind].bytes), dtype=np.uint8)


def test_sizes_of_blocks_are_the_librarys() -> None:
    for name, kind in GGML_TYPES.items():
        number = GGMLQuantizationType[name]
        assert (kind.id, (kind.values, kind.bytes)) == (number, GGML_QUANT_SIZES[number])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the reference, about NaN scales
@pytest.mark.parametrize("kind", [*NATIVE, *LIBRARY])
def test_random_blocks_give_the_same_bits(kind: str) -> None:
    raw = blocks(kind, 400)
    want = reference.dequantize(raw, GGMLQuantizationType[kind])
    shape = (40, 10 * GGML_TYPES[kind].values)
    got = dequantize(torch.from_numpy(raw).reshape(-1), kind, shape)
    want_bits = np.where(np.isnan(want), 0, want.view(np.int32)).reshape(shape)
    got_bits = np.where(np.isnan(got.numpy()), 0, got.numpy().view(np.int32))
    assert np.array_equal(np.isnan(got.numpy()), np.isnan(want).reshape(shape))
    assert np.array_equal(got_bits, want_bits)
    assert np.isfinite(want).mean() > 0.5  # most blocks say something


@pytest.mark.parametrize("kind", ["Q4_0", "Q6_K"])
def test_a_tensor_longer_than_one_slice(kind: str) -> None:
    count = (1 << 20) // GGML_TYPES[kind].values + 3
    raw = blocks(kind, count)
    want = torch.from_numpy(reference.dequantize(raw, GGMLQuantizationType[kind])).reshape(-1)
    got = dequantize(torch.from_numpy(raw).reshape(-1), kind, (want.numel(),), torch.bfloat16)
    assert torch.equal(got.nan_to_num(), want.to(torch.bfloat16).nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "F64"])
def test_plain_numbers_are_converted(kind: str, dtype: torch.dtype) -> None:
    values = torch.randn(6, 5).to(PLAIN[kind])
    raw = values.reshape(-1).view(torch.uint8)
    got = dequantize(raw, kind, (6, 5), dtype)
    assert got.dtype == dtype
    assert torch.equal(got, values.to(dtype))
    assert got.data_ptr() != raw.data_ptr()


def rows() -> torch.Tensor:
    """Rows of every size, with zeros, one outlier, equal values and ties between two codes."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, 96, generator=generator) * torch.logspace(-6, 3, 64)[:, None]
    x[3] = 0
    x[4] = 0.25
    x[5, 7] = 1e4
    x[6] = torch.arange(96) / 2 - 20
    x[7, :32] = torch.cat((torch.arange(-127, 0, 8) / 2, torch.arange(1, 128, 8) / 2))
    x[8] = -x[8].abs()
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ENCODABLE)
def test_encoding_gives_the_same_bytes(kind: str, dtype: torch.dtype) -> None:
    x = rows().to(dtype)
    number = GGMLQuantizationType[kind]
    want = reference.quantize(x.float().numpy(), number).view(np.uint8).reshape(-1)
    got = quantize(x, kind)
    assert got.dtype == torch.uint8
    assert np.array_equal(got.numpy(), want)


def test_encoding_again_what_was_decoded_changes_nothing() -> None:
    x = rows()
    once = dequantize(quantize(x, "Q8_0"), "Q8_0", tuple(x.shape))
    assert torch.equal(dequantize(quantize(once, "Q8_0"), "Q8_0", tuple(x.shape)), once)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(FormatError, match="unknown"):
        dequantize(torch.zeros(4, dtype=torch.uint8), "Q9_9", (1,))
    with pytest.raises(FormatError, match="do not make up"):
        dequantize(torch.zeros(19, dtype=torch.uint8), "Q4_0", (32,))
    with pytest.raises(UsageError, match="multiple of 32"):
        quantize(torch.zeros(2, 33), "Q4_0")
    with pytest.raises(UsageError, match="cannot be written"):
        quantize(torch.zeros(2, 256), "Q4_K")
