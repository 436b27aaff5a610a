"""Each operation against torch, on random shapes and for all instructions of this processor."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from puna.engine import columns
from puna.engine.emit import At, Emitter, Map, Picks
from puna.engine.storage import keep, take
from puna.kernels import (
    DUE,
    PICKED,
    Act,
    Format,
    Input,
    Kind,
    NormKind,
    Picking,
    library,
    operation,
)
from puna.model import AttentionRule, PackedWeight, alibi_slopes, attend
from puna.model.ffn import pick_experts
from puna.model.native import Native, operands
from puna.model.position import rotate as turn
from puna.quant import NF4, Grouped, Packed, RowWise, pair_nibbles, unpack
from puna.spec import Alibi, Groups, Rope, Router
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
    rows, form = draw_from(size), draw_from(st.sampled_from(["rows", "4", "8", "nf4"]))
    generator = torch.Generator().manual_seed(draw_from(st.integers(0, 99)))
    if form == "rows":
        k = draw_from(st.integers(1, 200))
        codes = torch.randint(-127, 128, (rows, k), generator=generator, dtype=torch.int8)
        return RowWise(codes, torch.rand(rows, generator=generator) / 100)
    if form == "nf4":
        groups = draw_from(st.integers(1, 4))
        codes = torch.randint(16, (rows, 64 * groups), generator=generator)
        absmax = (torch.rand(rows, groups, generator=generator) / 5).half()
        return NF4(pair_nibbles(codes.to(torch.uint8)), absmax)
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
    # A value that lies between two codes may be rounded either way, and levels of NF4 are rounded.
    near(out, left @ unpack(weight).T, 2e-3 if isinstance(weight, RowWise | Grouped) else 1e-2)


@few
@given(packed())
def test_blocks_give_back_what_they_were_made_of(weight: Packed) -> None:
    again = Native().restore(Native().prepare(weight))
    assert type(again) is type(weight)
    assert torch.equal(again.codes, weight.codes)
    for name in ("scale", "absmax"):
        assert getattr(again, name, None) is None or torch.equal(
            getattr(again, name), getattr(weight, name)
        )
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
@given(st.sampled_from(list(ACTS)), size, st.integers(1, 150), st.booleans(), level)
def test_gates(act: Act, rows: int, n: int, gated: bool, level: str) -> None:
    x, up = 8 * draw(10, rows, n), draw(11, rows, n)
    out = torch.zeros_like(x)
    in2 = 1 if gated else -1
    op = operation(Kind.GATE, in_=0, out=2, n=n, act=act)
    op.in2 = in2
    Lab([x, up, out], level).run(op)
    near(out, ACTS[act](x) * (up if gated else 1))


@few
@given(size, st.integers(1, 150), level)
def test_clamped_gates(rows: int, n: int, level: str) -> None:
    x, up, out = 9 * draw(10, rows, n), 9 * draw(11, rows, n), torch.zeros(rows, n)
    Lab([x, up, out], level).run(
        operation(Kind.GATE, in_=0, in2=1, out=2, n=n, act=Act.CLAMPED, a=1.7, b=7.0)
    )
    gate = x.clamp(max=7.0)
    near(out, (up.clamp(-7.0, 7.0) + 1) * gate * torch.sigmoid(1.7 * gate))


@few
@given(size, st.integers(1, 4), st.integers(1, 20), st.integers(0, 9), st.booleans(), level)
def test_copies(rows: int, heads: int, n: int, rest: int, one: bool, level: str) -> None:
    """Stretches of each head, or one stretch for all heads."""
    x, out = draw(40, rows, heads * (n + rest)), torch.zeros(rows, heads * n)
    apart = 0 if one else n + rest
    Lab([x, out], level).run(operation(Kind.COPY, in_=0, out=1, heads=heads, n=n, k=apart, value=n))
    parts = x.view(rows, heads, -1)[..., :n]
    want = parts[:, :1].expand(-1, heads, -1) if one else parts
    assert torch.equal(out, want.reshape(rows, -1))


@st.composite
def routers(draw_from: Any) -> tuple[Router, int, int]:
    """Return how experts are picked, how many there are, and how many a token gets."""
    count, each = draw_from(st.integers(1, 4)), draw_from(st.integers(2, 20))
    picked = draw_from(st.integers(1, count))
    groups = Groups(count, picked, draw_from(st.sampled_from(["best", "two"])))
    router = Router(
        draw_from(st.sampled_from(["softmax", "sigmoid"])),
        draw_from(st.booleans()),
        draw_from(st.sampled_from([1.0, 2.5])),
        correction=draw_from(st.booleans()),
        groups=groups if count > 1 else None,
    )
    return router, count * each, draw_from(st.integers(1, min(8, picked * each)))


@few
@given(routers(), size, level)
def test_picks(routing: tuple[Router, int, int], rows: int, level: str) -> None:
    how, experts, top_k = routing
    scores, gates = 3 * draw(41, rows, experts), torch.zeros(rows, top_k)
    correction = draw(42, experts) if how.correction else None
    mode = Picking.SIGMOID if how.score == "sigmoid" else Picking(0)
    mode |= Picking.RENORMALIZED if how.renormalized else Picking(0)
    mode |= Picking.BY_TWO if how.groups and how.groups.by == "two" else Picking(0)
    lab = Lab([scores, gates], level, experts=experts, spread=top_k)
    lab.run(
        operation(
            Kind.PICK, in_=0, out=1, n=experts, k=top_k, mode=mode, a=how.scale,
            heads=how.groups.count if how.groups else 1,
            kv_heads=how.groups.picked if how.groups else 1,
            p0=None if correction is None else correction.data_ptr(),
        )
    )  # fmt: skip
    want, picks = pick_experts(scores, how, top_k, correction)
    near(gates, want)
    assert torch.equal(lab.picks.long(), picks)


@few
@given(
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 40), size, st.integers(1, 3),
    st.sampled_from(["float32", "bfloat16", "rows", "4"]), level, st.integers(1, 3), st.data(),
)  # fmt: skip
def test_experts(
    experts: int, top_k: int, rows: int, n: int, groups: int, form: str, level: str, threads: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    """Up and down through each pick's expert, and the sum of the picks by their gates."""
    top_k, k = min(top_k, experts), 32 * groups
    mine = data.draw(st.lists(st.integers(0, rows - 1), unique=True, max_size=rows))
    weights = [_weight(form, seed, n, k) for seed in range(experts)]
    downs = [draw(300 + seed, k, n) for seed in range(experts)]
    biases = [draw(100 + seed, n) for seed in range(experts)]
    low = [
        None if e % 3 == 2 else _Update(draw(60 + e, 2, k), draw(70 + e, n, 2))
        for e in range(experts)
    ]
    x, scores, out = draw(43, rows, k), draw(44, rows, experts), draw(45, rows, k)
    start = out.clone()
    buffers = [x, scores, *(torch.zeros(rows * top_k, width) for width in (n, k, 2)), out]
    buffers.append(torch.zeros(rows, top_k))
    X, SCORES, INNER, OUTER, LOW, OUT, GATES = map(At, range(7))
    emit = Emitter(At(0), ("0",))
    emit.put(Kind.PICK, GATES, in_=SCORES.buffer, n=experts, k=top_k, mode=Picking.RENORMALIZED)
    for which in (-1, 0):
        emit.put(Kind.SORT, GATES, rows=which, experts=experts, spread=top_k)
    maps = [
        Map(weight, bias, {} if update is None else {"0": update})
        for weight, bias, update in zip(weights, biases, low, strict=True)
    ]
    picks = Picks(experts, top_k, LOW)
    emit.experts(X, INNER, maps, picks, shared=True, more=False)
    emit.put(Kind.GATE, INNER, in_=INNER.buffer, n=n, act=Act.RELU, rows=PICKED, spread=top_k)
    emit.experts(INNER, OUTER, [Map(down) for down in downs], picks, shared=False, more=False)
    emit.put(Kind.MIX, OUT, in_=OUTER.buffer, in2=GATES.buffer, n=k, spread=top_k, add=1)
    lab = Lab(buffers, level, threads, subsets=[sorted(mine)], experts=experts, spread=top_k)
    lab.run(*emit.ops)
    gates, chosen = pick_experts(scores, Router(), top_k, None)
    want = start.clone()
    for row in range(rows):
        left = x[row].bfloat16().float() if form == "bfloat16" else x[row]
        if form in ("rows", "4"):
            size = k if form == "rows" else 32
            scale = left.view(-1, size).abs().amax(-1, keepdim=True) / 127
            left = ((left.view(-1, size) / scale).round() * scale).flatten()
        for gate, expert in zip(gates[row], chosen[row].tolist(), strict=True):
            hidden = _numbers(weights[expert]) @ left + biases[expert]
            update = low[expert]
            if row in mine and update is not None:
                hidden += update.scale * (update.b @ (update.a @ x[row]))
            want[row] += gate * (downs[expert] @ hidden.relu())
    near(out, want, 5e-3 if form in ("rows", "4") else 1e-5)


@dataclass(frozen=True)
class _Update:
    a: Tensor
    b: Tensor
    scale: float = 0.5


def _weight(form: str, seed: int, n: int, k: int) -> Tensor | PackedWeight:
    if form in ("float32", "bfloat16"):
        return draw(200 + seed, n, k).to(getattr(torch, form))
    generator = torch.Generator().manual_seed(seed)
    packed: Packed
    if form == "rows":
        codes = torch.randint(-127, 128, (n, k), generator=generator, dtype=torch.int8)
        packed = RowWise(codes, torch.rand(n, generator=generator) / 100)
    else:
        codes = torch.randint(16, (n, k), generator=generator)
        scale = (torch.randn(n, k // 32, generator=generator) / 50).half()
        packed = Grouped(pair_nibbles(codes.to(torch.uint8)), scale, None)
    return PackedWeight(packed, torch.float32, Native())


def _numbers(weight: Tensor | PackedWeight) -> Tensor:
    return weight.float() if isinstance(weight, Tensor) else unpack(weight.packed)


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
@given(st.sampled_from(list(KINDS)), st.integers(1, 40), st.integers(1, 90), level)
def test_tables_of_rows(dtype: torch.dtype, rows: int, width: int, level: str) -> None:
    ids = torch.randint(50, (rows,), generator=torch.Generator().manual_seed(14))
    out, table = torch.zeros(rows, width), draw(15, 50, width).to(dtype)
    named = {"format": KINDS[dtype], "p0": table.data_ptr()}
    op = operation(Kind.EMBED, out=0, n=width, a=1.5, **named)
    Lab([out], level, ids=ids.tolist()).run(op)
    near(out, 1.5 * table.float()[ids])


@few
@given(packed(), st.integers(1, 40), level)
def test_tables_of_packed_rows(weight: Packed, rows: int, level: str) -> None:
    assume(not isinstance(weight, NF4))  # no table is ever packed so
    ready, table = Native().prepare(weight), unpack(weight)
    ids = torch.randint(len(table), (rows,), generator=torch.Generator().manual_seed(14))
    out = torch.zeros(rows, table.shape[1])
    named = {name: operands(ready)[name] for name in ("format", "b", "group", "p0", "p2", "p3")}
    Lab([out], level, ids=ids.tolist()).run(
        operation(Kind.EMBED, out=0, n=table.shape[1], a=1.5, **named)
    )
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
    st.sampled_from([*KINDS, torch.int8]), level, st.integers(1, 3),
)  # fmt: skip
def test_attention_over_pages(
    rule: dict[str, Any], kv: int, per: int, dim: int, value: int, chunks: list[tuple[int, int]],
    dtype: torch.dtype, level: str, threads: int,
) -> None:  # fmt: skip
    heads, slots = kv * per, 16 * PAGE
    keys, values = (
        torch.zeros(slots, kv, columns(width, dtype), dtype=dtype) for width in (dim, value)
    )
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
            slot = torch.tensor([tables[number][at // PAGE] * PAGE + at % PAGE])
            keep(keys, slot, draw(100 + at, 1, kv, dim))
            keep(values, slot, draw(200 + at, 1, kv, value))
    mode = 0 if rule["alibi"] is None else rule["alibi"].rounded + 2 * rule["alibi"].divided
    kept = {
        "format": {**KINDS, torch.int8: Format.I8}[dtype], "kv_heads": kv, "n": dim, "value": value,
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
        ks, vs = (
            take(store, torch.tensor(places), torch.float32).float().transpose(0, 1)[None]
            for store in (keys, values)
        )
        qs = q[row : row + count].view(count, heads, dim).transpose(0, 1)[None]
        at = torch.arange(start, start + count)[None]
        want = attend(qs, ks, vs, shape, at)[0].transpose(0, 1).reshape(count, -1)
        near(out[row : row + count], want, 1e-5)
        row += count


@few
@given(size, st.integers(1, 3), st.integers(1, 70), level)
def test_keys_of_eight_bits_are_those_of_torch(rows: int, kv: int, dim: int, level: str) -> None:
    """But for a code that lies between two numbers, and a scale's last bit."""
    k, v = 3 * draw(50, rows, kv * dim), draw(51, rows, kv * dim)
    k[0, 0], v[:, :dim] = float("nan"), 0.0
    stores = [torch.zeros(6 * PAGE, kv, columns(dim, torch.int8), dtype=torch.int8) for _ in "ab"]
    op = operation(
        Kind.STORE, in_=0, in2=1, format=Format.I8, kv_heads=kv, n=dim, value=dim,
        p0=stores[0].data_ptr(), p1=stores[1].data_ptr(),
    )  # fmt: skip
    lab = Lab([k, v], level, positions=range(rows), owner=[0] * rows, tables=[range(1, 6)])
    lab.run(op)
    for store, heads in zip(stores, (k, v), strict=True):
        slots = torch.arange(PAGE, PAGE + rows)
        want = torch.zeros_like(store)
        keep(want, slots, heads.view(rows, kv, dim))
        got, known = (take(one, slots, torch.float32) for one in (store, want))
        assert torch.equal(got.isnan(), known.isnan())
        rough = heads.view(rows, kv, dim).nan_to_num().abs().amax(-1, keepdim=True) / 100
        assert ((got - known).nan_to_num().abs() <= rough).all()
        near((got - heads.view(rows, kv, dim)).nan_to_num(), torch.zeros_like(got), 0.06)


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_has_threads_of_its_own() -> None:
    script = """if True:
        import os, sys
        from tests.kernels.lab import Lab
        from tests.kernels.test_operations import LEVELS, Kind, draw, near, operation
        x, out, weight = draw(0, 9, 40), draw(1, 9, 40), draw(2, 40, 40)
        lab = Lab([x, out], LEVELS[-1], 2)
        op = operation(Kind.LINEAR, in_=0, out=1, n=40, k=40, p0=weight.data_ptr())
        lab.run(op)
        child = os.fork()
        out.zero_()
        lab.run(op)
        near(out, x @ weight.T, 1e-5)
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert done.returncode == 0


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
            for act in ACTS:
                Lab([x, out], level).run(operation(Kind.GATE, in_=0, out=1, n=40, act=act))
                assert out[1].isnan().sum() == 1
