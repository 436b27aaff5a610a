"""The ragged forward against plain arithmetic, and its invariances."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import product

import pytest
import torch

from puna.model import AttentionRule, Rows, Segments, attend, build, initialize
from puna.model.attend import alibi_slopes
from puna.model.position import RotaryTable, rotate
from puna.spec import (
    Alibi,
    Attention,
    Dense,
    DynamicScaling,
    Embed,
    Head,
    LayerSpec,
    LearnedPositions,
    ModelSpec,
    MoE,
    Norm,
    Rope,
)

GATED = Dense(40, "silu", gate="split")


def make_spec(
    *,
    position: Rope | Alibi | None = None,
    window: int | None = None,
    ffn: Dense | MoE = GATED,
    qkv: str = "split",
    residual: str = "sequential",
    tied: bool = True,
) -> ModelSpec:
    mixer = Attention(6, 2, 8, 8**-0.5, position, qkv, True, True, window)  # type: ignore[arg-type]
    norm = Norm("layer", 1e-5, bias=True)
    layer = LayerSpec(mixer, ffn, norm, residual)  # type: ignore[arg-type]
    return ModelSpec("test", 61, 28, 64, Embed(), (layer, layer), norm, Head(tied))


def naive_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rule: AttentionRule
) -> torch.Tensor:
    """One sequence: q [T, H, D], k and v [T, KV, D], by loops over queries and heads."""
    heads, groups = q.shape[1], q.shape[1] // k.shape[1]
    slopes = alibi_slopes(heads)
    out = torch.zeros_like(q)
    for t, h in product(range(q.shape[0]), range(heads)):
        first = 0 if rule.window is None else max(0, t - rule.window + 1)
        keys, values = k[first : t + 1, h // groups], v[first : t + 1, h // groups]
        scores = keys @ q[t, h] * rule.scale
        if rule.alibi:
            bias = slopes[h] * torch.arange(first, t + 1)
            scores = scores + bias * (rule.scale if rule.alibi.divided else 1.0)
        out[t, h] = scores.softmax(0) @ values
    return out


RULES = [
    AttentionRule(0.3),
    AttentionRule(0.3, window=5),
    AttentionRule(0.3, window=100),
    AttentionRule(0.3, alibi=Alibi()),
    AttentionRule(0.3, alibi=Alibi(divided=True)),
    AttentionRule(0.3, window=7, alibi=Alibi()),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_segments_equal_loops(rule: AttentionRule) -> None:
    torch.manual_seed(0)
    lengths = [3, 41, 1, 40, 33]
    q, k, v = (torch.randn(sum(lengths), n, 8) for n in (6, 2, 2))
    got = Segments(lengths).attend(0, q, k, v, rule)
    parts = (x.split(lengths) for x in (q, k, v))
    want = torch.cat([naive_attention(*qkv, rule) for qkv in zip(*parts, strict=True)])
    assert torch.allclose(got, want, atol=1e-5)


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, n, 50, 8) for n in (6, 2, 2))
    whole = attend(q, k, v, RULES[5])
    monkeypatch.setattr(sys.modules["puna.model.attend"], "_MASK_ENTRIES", 1000)
    assert torch.allclose(attend(q, k, v, RULES[5]), whole, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 71, 112])
def test_alibi_slopes_are_the_paper_s(heads: int) -> None:
    slopes = alibi_slopes(heads).tolist()
    power = 2 ** math.floor(math.log2(heads))
    want = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    want += [2.0 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(heads - power)]
    assert slopes == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_keeps_length_and_depends_on_distance_only(interleaved: bool) -> None:
    torch.manual_seed(0)
    rope = Rope(10_000.0, 6, interleaved)
    table = RotaryTable(rope)
    q, k = torch.randn(2, 1, 1, 8)

    def score(i: int, j: int) -> float:
        spots = (torch.tensor([p]) for p in (i, j))
        a, b = (rotate(x, *table(spot, spot), rope) for x, spot in zip((q, k), spots, strict=True))
        assert torch.allclose(a.norm(), q.norm())
        return float((a * b).sum())

    assert score(3, 1) == pytest.approx(score(33, 31), abs=1e-4)
    assert score(3, 1) != pytest.approx(score(4, 1), abs=1e-4)


AXES = [
    {"position": Rope(10_000.0, 8)},
    {"position": Rope(10_000.0, 4, interleaved=True), "qkv": "fused"},
    {"position": Rope(10_000.0, 8, scaling=DynamicScaling(2.0, 16))},
    {"position": Alibi(), "residual": "parallel_shared", "tied": False},
    {"position": Alibi(divided=True, rounded=True), "residual": "parallel_split"},
    {"window": 6, "ffn": MoE(5, 2, GATED)},
    {"ffn": Dense(33, "gelu_tanh", gate=None, bias=True)},
]


@pytest.mark.parametrize("axes", AXES, ids=str)
@torch.no_grad()
def test_sequences_in_one_call_do_not_see_each_other(axes: dict) -> None:  # type: ignore[type-arg]
    model = build(make_spec(**axes), device="cpu")
    initialize(model, seed=1, std=0.3)
    torch.manual_seed(2)
    sequences = [torch.randint(61, (n,)) for n in (5, 37, 1, 20)]
    together = Segments([len(s) for s in sequences])
    got = model.head(model(torch.cat(sequences), together.positions, together), together.rows)
    alone = []
    for ids in sequences:
        ctx = Segments([len(ids)])
        alone.append(model.head(model(ids, ctx.positions, ctx), ctx.rows))
    assert got.dtype == torch.float32
    assert torch.allclose(got, torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_later_tokens_do_not_change_earlier_ones(axes: dict) -> None:  # type: ignore[type-arg]
    model = build(make_spec(**axes), device="cpu")
    initialize(model, seed=1, std=0.3)
    ids = torch.arange(30) % 61
    with torch.no_grad():
        a = Segments([30], spans=[40])
        b = Segments([20], spans=[40])
        whole = model(ids, a.positions, a)[:20]
        assert torch.allclose(whole, model(ids[:20], b.positions, b), atol=1e-5)


def test_learned_positions_and_embedding_scale() -> None:
    spec = make_spec()
    spec = replace(spec, embed=Embed(positions=LearnedPositions(64, offset=2), scale=3.0))
    model = build(spec, device="cpu")
    initialize(model, seed=0)
    ids, positions = torch.tensor([4, 7]), torch.tensor([0, 9])
    want = model.embed.tokens[ids] * 3.0 + model.embed.positions[positions + 2]
    assert torch.allclose(model.embed(ids, positions), want)


def test_build_on_meta_takes_no_memory_and_initialize_is_seeded() -> None:
    spec = make_spec()
    assert all(p.device.type == "meta" for p in build(spec).parameters())
    models = [build(spec, device="cpu") for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialize(model, seed=seed)
    one, same, other = (m.layers[0].attn.out.weight for m in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_rows_follow_their_tokens() -> None:
    rows = Rows(torch.tensor([0, 1, -1, 1]))
    assert rows.take(torch.tensor([3, 2])).adapters.tolist() == [1, -1]  # type: ignore[union-attr]
    assert Rows(4).take(torch.tensor([0])).adapters == 4
