"""Each operation against torch, on random shapes and for all instructions of this processor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from puna.kernels import DUE, Act, Format, Input, Kind, NormKind, library, operation
from puna.model import AttentionRule, alibi_slopes, attend
from puna.model.native import Native, operands
from puna.model.position import rotate as turn
from puna.quant import Grouped, Packed, RowWise, pair_nibbles, unpack
from puna.spec import Alibi, Rope
from tests.kernels.lab import PAGE, Lab

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels were not compiled")
LEVELS = library().levels() if library() else ("portable",)
level = st.sampled_from(LEVELS)
size = st.integers(1, 75)
few = settings(max_examples=60, deadline=None)
KINDS = {torch.float32: Format.F32, torch.bfloat16: Format.BF16, torch.float16: Format.F16}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near(got: Tensor, want: Tensor, bound: float = 2e-6) -> None:
    assert got.shape == want.shape
    if got.numel():
        assert float((got - want).abs().max()) <= bound * (1 + float(want.abs().max()))


@few
@given(st.sampled_from(list(KINDS)), size, size, st.integers(1, 200), level, st.booleans())
def test_products_of_floats(
    dtype: torch.dtype, rows: int, n: int, k: int, level: str, add: bool
) -> None:
    x, out, weight = draw(0, rows, k), draw(1, rows, n), draw(2, n, k).to(dtype)
    bias, start = draw(3, n), out.clone()
    form = KINDS[dtype]
    wanted = Input.HALF if form is Format.BF16 else Input.AS_IS
    linear = operation(
        Kind.LINEAR, in_=0, out=1, n=n, k=k, format=form, input=wanted, a=0.5, add=add,
        p0=weight.data_ptr(), p1=bias.data_ptr(),
    )  # fmt: skip
    ops = [operation(Kind.PREPARE, in_=0, k=k, mode=wanted)] if form is Format.BF16 else []
    Lab([x, out], level).run(*ops, linear)
    left = x.to(dtype).float() if form is Format.BF16 else x
    want = 0.5 * (left @ weight.float().T) + bias + (start if add else 0)
    near(out, want, 1e-5)


@st.composite
def packed(draw_from: Any) -> Packed:
    rows, form = draw_from(size), draw_from(st.sampled_from(["rows", "4", "8"]))
    generator = torch.Generator().manual_seed(draw_from(st.integers(0, 99)))
    if form == "rows":
        k = draw_from(st.integers(1, 200))
        codes = torch.randint(-127, 128, (rows, k), generator=generator, dtype=torch.int8)
        return RowWise(codes, torch.rand(rows, generator=generator) / 100)
    group = draw_from(st.sampled_from([16, 32, 64]))
    groups = draw_from(st.integers(1, 4))
    scale = (torch.randn(rows, groups, generator=generator) / 50).half()
    low = (
        torch.randn(rows, groups, generator=generator).half() if draw_from(st.booleans()) else None
    )
    if form == "8":
        codes = torch.randint(-128, 128, (rows, group * groups), generator=generator)
        return Grouped(codes.to(torch.int8), scale, low)
    codes = torch.randint(16, (rows, group * groups), generator=generator)
    return Grouped(pair_nibbles(codes.to(torch.uint8)), scale, low)


@few
@given(packed(), size, level, st.integers(1, 3))
def test_products_of_codes(weight: Packed, rows: int, level: str, threads: int) -> None:
    """Against floats made of the same codes on both sides: only the order of sums differs."""
    ready = Native().prepare(weight)
    n, k = ready.shape
    x, out = draw(4, rows, k), torch.zeros(rows, n)
    x[0] = 0  # a row, and groups, of nothing
    prepare = operation(Kind.PREPARE, in_=0, k=k, mode=ready.input, group=ready.group)
    linear = operation(Kind.LINEAR, in_=0, out=1, n=n, k=k, **operands(ready))
    Lab([x, out], level, threads).run(prepare, linear)
    parts = x.view(rows, -1, ready.group)
    scale = parts.abs().amax(-1, keepdim=True) / 127
    left = ((parts / scale).nan_to_num().round() * scale).view(rows, k)
    # A value that lies between two codes may be rounded either way.
    near(out, left @ unpack(weight).T, 2e-3)


@few
@given(packed())
def test_blocks_give_back_what_they_were_made_of(weight: Packed) -> None:
    again = Native().restore(Native().prepare(weight))
    assert type(again) is type(weight)
    assert torch.equal(again.codes, weight.codes)
    assert torch.equal(again.scale, weight.scale)
    low = getattr(weight, "low", None)
    assert low is None or torch.equal(again.low, low)
    ready, ids = Native().prepare(weight), torch.tensor([0, len(weight.codes) - 1, 0])
    assert torch.equal(Native().rows(ready, ids), unpack(weight)[ids])


@few
@given(st.sampled_from(list(NormKind)), size, st.integers(1, 90), st.integers(1, 3), level)
def test_norms(kind: NormKind, rows: int, width: int, heads: int, level: str) -> None:
    x, gain, bias = 3 * draw(5, rows, heads * width) + 1, draw(6, width), draw(7, width)
    out = torch.zeros_like(x)
    op = operation(
        Kind.NORM, in_=0, out=1, n=width, heads=heads, mode=kind, a=1e-5, p0=gain.data_ptr(),
        p1=bias.data_ptr() if kind is NormKind.LAYER else None,
    )  # fmt: skip
    Lab([x, out], level).run(op)
    parts = x.view(rows, heads, width)
    if kind is NormKind.LAYER:
        want = F.layer_norm(parts, (width,), gain, bias, 1e-5)
    else:
        more = 1.0 if kind is NormKind.RMS_ONE_PLUS else 0.0
        want = F.rms_norm(parts, (width,), eps=1e-5) * (gain + more)
    # A stretch of one number has no spread: what it is divided by is all rounding.
    near(out, want.reshape(rows, -1), 2e-5 if width > 1 else 2e-2)


@few
@given(size, st.integers(1, 4), st.integers(1, 20), st.integers(0, 9), st.booleans(), level)
def test_rotation(rows: int, heads: int, half: int, rest: int, pairs: bool, level: str) -> None:
    width = 2 * half + rest
    x = draw(8, rows, heads * width)
    angles = 10 * draw(9, rows, half)
    cos, sin = angles.cos(), angles.sin()
    rope = Rope(10_000.0, 2 * half, pairs)
    want = turn(x.view(rows, heads, width), cos, sin, rope).reshape(rows, -1)
    op = operation(Kind.ROTATE, in_=0, heads=heads, n=width, k=2 * half, mode=int(pairs))
    Lab([x], level, cos=cos, sin=sin).run(op)
    near(x, want)


ACTS = {
    Act.NONE: lambda x: x,
    Act.SILU: F.silu,
    Act.GELU: F.gelu,
    Act.GELU_TANH: lambda x: F.gelu(x, approximate="tanh"),
    Act.RELU: F.relu,
}


@few
@given(st.sampled_from(list(Act)), size, st.integers(1, 150), st.booleans(), level)
def test_gates(act: Act, rows: int, n: int, gated: bool, level: str) -> None:
    x, up = 8 * draw(10, rows, n), draw(11, rows, n)
    out = torch.zeros_like(x)
    in2 = 1 if gated else -1
    op = operation(Kind.GATE, in_=0, out=2, n=n, act=act)
    op.in2 = in2
    Lab([x, up, out], level).run(op)
    near(out, ACTS[act](x) * (up if gated else 1))


@few
@given(size, st.integers(1, 150), st.floats(-3, 3), st.sampled_from([0.0, 5.0]), level)
def test_sums_factors_and_bounds(rows: int, n: int, a: float, cap: float, level: str) -> None:
    x, y = 9 * draw(12, rows, n), draw(13, rows, n)
    total, scaled, bounded = y.clone(), torch.zeros_like(x), torch.zeros_like(x)
    Lab([x, total, scaled, bounded], level).run(
        operation(Kind.ADD, in_=0, out=1, n=n, a=a),
        operation(Kind.SCALE, in_=0, out=2, n=n, a=a, b=cap),
        operation(Kind.CLAMP, in_=0, out=3, n=n, a=abs(a)),
    )
    near(total, y + x * a)
    near(scaled, cap * torch.tanh(x * a / cap) if cap else x * a)
    near(bounded, x.clamp(-abs(a), abs(a)))


@few
@given(st.sampled_from([*KINDS, None]), st.integers(1, 40), st.integers(1, 90), level)
def test_tables_of_rows(dtype: torch.dtype | None, rows: int, width: int, level: str) -> None:
    generator = torch.Generator().manual_seed(14)
    ids = torch.randint(50, (rows,), generator=generator)
    out = torch.zeros(rows, width)
    if dtype is None:
        codes = torch.randint(-127, 128, (50, width), generator=generator, dtype=torch.int8)
        weight = RowWise(codes, torch.rand(50, generator=generator))
        ready, table = Native().prepare(weight), unpack(weight)
        named = {name: operands(ready)[name] for name in ("format", "b", "p0", "p2")}
    else:
        numbers = draw(15, 50, width).to(dtype)
        table, named = numbers.float(), {"format": KINDS[dtype], "p0": numbers.data_ptr()}
    op = operation(Kind.EMBED, out=0, n=width, a=1.5, **named)
    Lab([out], level, ids=ids.tolist()).run(op)
    near(out, 1.5 * table[ids])


@given(size, level, st.data())
@few
def test_rows_that_are_due(rows: int, level: str, data: st.DataObject) -> None:
    due = data.draw(st.lists(st.integers(0, rows - 1), unique=True, max_size=rows))
    x, out, logits = draw(16, rows, 20), torch.zeros(rows, 20), torch.zeros(rows, 7)
    weight = draw(17, 7, 20)
    linear = {"n": 7, "k": 20, "format": Format.F32, "p0": weight.data_ptr(), "rows": DUE}
    Lab([x, out, logits], level, due=sorted(due)).run(
        operation(Kind.GATHER, in_=0, out=1, n=20),
        operation(Kind.LINEAR, in_=1, out=2, **linear),
    )
    near(logits[: len(due)], x[sorted(due)] @ weight.T, 1e-5)
    assert not logits[len(due) :].any()


@st.composite
def rules(draw_from: Any) -> dict[str, Any]:
    alibi = draw_from(st.sampled_from([None, Alibi(), Alibi(divided=True, rounded=True)]))
    return {
        "window": draw_from(st.sampled_from([None, 1, 5, 30])),
        "alibi": alibi,
        "softcap": draw_from(st.sampled_from([None, 3.0])),
        "sinks": draw_from(st.booleans()),
    }


@settings(max_examples=100, deadline=None)
@given(
    rules(), st.integers(1, 4), st.sampled_from([1, 2, 3, 71]), st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=3),
    st.sampled_from(list(KINDS)), level, st.integers(1, 3),
)  # fmt: skip
def test_attention_over_pages(
    rule: dict[str, Any], kv: int, per: int, dim: int, value: int, chunks: list[tuple[int, int]],
    dtype: torch.dtype, level: str, threads: int,
) -> None:  # fmt: skip
    heads, slots = kv * per, 16 * PAGE
    keys, values = (torch.zeros(slots, kv, width, dtype=dtype) for width in (dim, value))
    tables = [list(range(1 + 5 * n, 6 + 5 * n))[::-1] for n in range(len(chunks))]
    total = sum(count for _, count in chunks)
    q = draw(20, total, heads * dim)
    k, v = draw(21, total, kv * dim), draw(22, total, kv * value)
    out = torch.zeros(total, heads * value)
    positions = [at for start, count in chunks for at in range(start, start + count)]
    owner = [n for n, (_, count) in enumerate(chunks) for _ in range(count)]
    sinks = draw(23, heads) if rule["sinks"] else None
    slopes = alibi_slopes(heads)
    for number, (start, _) in enumerate(chunks):  # what came before
        for at in range(start):
            slot = tables[number][at // PAGE] * PAGE + at % PAGE
            keys[slot] = draw(100 + at, kv, dim).to(dtype)
            values[slot] = draw(200 + at, kv, value).to(dtype)
    mode = 0 if rule["alibi"] is None else rule["alibi"].rounded + 2 * rule["alibi"].divided
    kept = {
        "format": KINDS[dtype], "kv_heads": kv, "n": dim, "value": value,
        "p0": keys.data_ptr(), "p1": values.data_ptr(),
    }  # fmt: skip
    lab = Lab([q, k, v, out], level, threads, (), positions, owner, (), tables)
    lab.run(
        operation(Kind.STORE, in_=1, in2=2, **kept),
        operation(
            Kind.ATTEND, in_=0, out=3, heads=heads, a=dim**-0.5, b=rule["softcap"] or 0.0,
            window=rule["window"] or 0, mode=mode,
            p2=None if rule["alibi"] is None else slopes.data_ptr(),
            p3=None if sinks is None else sinks.data_ptr(), **kept,
        ),
    )  # fmt: skip
    shape = AttentionRule(dim**-0.5, rule["window"], rule["alibi"], rule["softcap"], sinks)
    row = 0
    for (start, count), table in zip(chunks, tables, strict=True):
        places = [table[at // PAGE] * PAGE + at % PAGE for at in range(start + count)]
        ks, vs = (store[places].float().transpose(0, 1)[None] for store in (keys, values))
        qs = q[row : row + count].view(count, heads, dim).transpose(0, 1)[None]
        at = torch.arange(start, start + count)[None]
        want = attend(qs, ks, vs, shape, at)[0].transpose(0, 1).reshape(count, -1)
        near(out[row : row + count], want, 1e-5)
        row += count


def test_one_program_after_another() -> None:
    """A thread that is still leaving a program must not walk into the next one."""
    x, out = draw(30, 5, 40), torch.zeros(5, 40)
    weight, bound = draw(31, 40, 40), 1.0
    one = operation(Kind.LINEAR, in_=0, out=1, n=40, k=40, p0=weight.data_ptr())
    others = [operation(Kind.CLAMP, in_=1, out=1, n=40, a=bound)] * 3
    want = x @ weight.T
    for _ in range(1000):
        Lab([x, out], LEVELS[-1], 3).run(one)
        near(out, want, 1e-5)
        Lab([x, out], LEVELS[-1], 3).run(one, *others)
        near(out, want.clamp(-bound, bound), 1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(bad: float, level: str) -> None:
    """Codes of 8 bits and bounds of functions could hide it, and a request must fail by it."""
    for place in (3, 38):  # among the lanes, and behind them
        x, out = draw(32, 3, 40), torch.zeros(3, 40)
        x[1, place] = bad
        ready = Native().prepare(RowWise(torch.ones(40, 40, dtype=torch.int8), torch.ones(40)))
        prepare = operation(Kind.PREPARE, in_=0, k=40, mode=ready.input, group=ready.group)
        linear = operation(Kind.LINEAR, in_=0, out=1, n=40, k=40, **operands(ready))
        Lab([x, out], level).run(prepare, linear)
        assert out[1].isnan().all()
        assert out[[0, 2]].isfinite().all()
        if bad != bad:
            for act in Act:
                Lab([x, out], level).run(operation(Kind.GATE, in_=0, out=1, n=40, act=act))
                assert out[1].isnan().sum() == 1
