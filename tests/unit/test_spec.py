"""Records refuse what cannot be, and count what will be."""

from __future__ import annotations

import pytest

from puna.errors import ConfigError
from puna.model import build
from puna.spec import Attention, MoE, Norm, Rope, count_parameters, kv_bytes_per_token
from tests.unit.test_model import AXES, GATED, make_spec


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_count_equals_the_module(axes: dict) -> None:  # type: ignore[type-arg]
    spec = make_spec(**axes)
    assert count_parameters(spec) == sum(p.numel() for p in build(spec).parameters())


def test_active_counts_the_picked_experts_only() -> None:
    spec = make_spec(**AXES[5])
    moe = spec.layers[0].ffn
    assert isinstance(moe, MoE)
    expert = 3 * moe.expert.width * spec.width
    unused = (moe.experts - moe.top_k) * expert * len(spec.layers)
    assert count_parameters(spec) - count_parameters(spec, active=True) == unused


def test_kv_bytes() -> None:
    assert kv_bytes_per_token(make_spec(), bytes_per_value=2) == 2 * 2 * (2 * 8) * 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Attention(6, 4, 8, 1.0, None),
        lambda: Attention(6, 0, 8, 1.0, None),
        lambda: Attention(6, 2, 8, 1.0, Rope(1e4, 10)),
        lambda: Attention(6, 2, 8, 1.0, None, window=0),
        lambda: Rope(1e4, 7),
        lambda: Rope(-1.0, 8),
        lambda: Norm("rms", 0.0),
        lambda: Norm("rms", 1e-5, bias=True),
        lambda: make_spec(ffn=MoE(1 << 17, 1, GATED)),
        lambda: MoE(4, 5, make_spec().layers[0].ffn),  # type: ignore[arg-type]
    ],
)
def test_invalid_combinations_raise_when_made(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError):
        wrong()
