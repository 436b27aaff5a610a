"""Time, energy and price: the sums by hand, and words that mean no number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from puna.errors import UsageError
from puna.families import read_config
from puna.plan import Device, Plan, Serve, Sketch, Tune, Use
from puna.plan.known import known_configs
from puna.plan.price import (
    Rates,
    Tokens,
    Vendor,
    check_currencies,
    estimate,
    forward_flops,
    parse_tokens,
    parse_vendor,
    rates_of,
    step_bytes,
)
from puna.spec import ModelSpec, count_parameters

CARD = Device("card", 80 * 10**9, "cuda", 1e12, 1e14, 500.0)
RATES = Rates(1e12, 1e14, 500.0, 0.5, 0.4, "said here")


def known(name: str) -> ModelSpec:
    return read_config(known_configs()[name])


def planned(name: str, use: Use, machines: int = 1, device: Device = CARD) -> Plan:
    spec = known(name)
    shape = Sketch(name, spec, 0, "safetensors", {}, "bfloat16")
    return Plan(shape, use, "bfloat16", device, machines, (), 0, 0, True)


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("10M", 7_500_000, 2_500_000),
        ("10M:2M", 10**7, 2 * 10**6),
        ("1.5b", 1_125_000_000, 375_000_000),
        ("3", 2, 1),
        ("0:5k", 0, 5000),
        ("2T:0", 2 * 10**12, 0),
    ],
)
def test_tokens_are_read_as_people_write_them(text: str, read: int, written: int) -> None:
    assert parse_tokens(text) == Tokens(read, written)


@pytest.mark.parametrize(
    "text", ["", "M", "0", "0:0", "1:2:3", "-5", "ten", "1e9", "5MB", "9" * 30]
)
def test_what_is_no_number_of_tokens(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of tokens"):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ("Acme:3/15", Vendor("Acme", 3, 15, "")),
        ("Acme Large: $2.50 / $10", Vendor("Acme Large", 2.5, 10, "$")),
        ("a:0.1 EUR/0.4 EUR", Vendor("a", 0.1, 0.4, "EUR")),
        ("a:€1/2", Vendor("a", 1, 2, "€")),
    ],
)
def test_prices_are_read_in_any_currency(text: str, vendor: Vendor) -> None:
    assert parse_vendor(text) == vendor


@pytest.mark.parametrize("text", ["", "Acme", "Acme:3", ":3/4", "Acme:3/4/5", "Acme:x/y", "a:-1/2"])
def test_what_is_no_price(text: str) -> None:
    with pytest.raises(UsageError, match="is no price"):
        parse_vendor(text)


def test_prices_in_two_currencies_are_not_compared() -> None:
    check_currencies([Vendor("a", 1, 2, "$"), Vendor("b", 1, 2, ""), Vendor("c", 1, 2, "$")])
    with pytest.raises(UsageError, match="prices in EUR and kr cannot be compared"):
        check_currencies([Vendor("a", 1, 2, "kr"), Vendor("b", 1, 2, "EUR")])


def test_a_price_is_the_sum_of_both() -> None:
    assert Vendor("a", 3, 15, "$").price(Tokens(2_000_000, 100_000)) == pytest.approx(6 + 1.5)


def test_operations_of_a_token() -> None:
    """LLaMA 2 7B by hand: 2 per multiplied parameter, and 4 per head dim and token seen."""
    spec = known("llama2-7b")
    looked_up = 32_000 * 4096
    products = 2 * (6_738_415_616 - looked_up)
    assert forward_flops(spec, 0) == products
    assert forward_flops(spec, 1000) - products == 32 * 4 * 32 * 128 * 1000
    tied = known("gemma-2b")
    assert forward_flops(tied, 0) == 2 * 2_506_172_416


def test_a_window_bounds_what_is_seen() -> None:
    spec = known("mistral-7b")
    assert forward_flops(spec, 4096) == forward_flops(spec, 30_000) > forward_flops(spec, 4095)
    assert step_bytes(spec, 1, 4096, 2) == step_bytes(spec, 1, 30_000, 2)


def test_bytes_of_a_step() -> None:
    spec = known("llama3-8b")
    weights = 2 * (8_030_261_248 - 128_256 * 4096)
    assert step_bytes(spec, 1, 0, 2) == weights
    # 8 key/value heads of 128 in 32 layers, keys and values, 2 bytes each.
    assert step_bytes(spec, 4, 500, 2) == weights + 4 * 500 * 32 * 8 * 128 * 2 * 2


def test_more_tokens_of_a_step_pick_more_experts() -> None:
    spec = known("mixtral")
    looked_up = 32_000 * 4096
    assert step_bytes(spec, 1, 0, 2) == 2 * (12_879_925_248 - looked_up)
    each = (count_parameters(spec) - 12_879_925_248) // 6
    # Two tokens pick 8 (1 - (6/8)²) = 3.5 of eight experts, 64 tokens all of them.
    assert step_bytes(spec, 2, 0, 2) == 2 * (12_879_925_248 + 2 * each - looked_up)
    assert step_bytes(spec, 64, 0, 2) == 2 * (count_parameters(spec) - looked_up)


def test_serving_is_bound_by_arithmetic_then_by_memory() -> None:
    plan = planned("llama3-8b", Serve(8192, batch=4))
    cost = estimate(plan, Tokens(6_000_000, 2_000_000), RATES)
    spec = plan.sketch.spec
    assert cost.read_seconds == pytest.approx(6e6 * forward_flops(spec, 3072) / 4e13)
    assert cost.write_seconds == pytest.approx(5e5 * step_bytes(spec, 4, 7168, 2) / 5e11)
    assert cost.seconds == cost.read_seconds + cost.write_seconds
    assert cost.kwh == pytest.approx(500 * cost.seconds / 3.6e6)
    assert any("8,192 tokens, 6,144 of them read" in note for note in cost.notes)


def test_many_sequences_are_bound_by_arithmetic() -> None:
    tokens, few, many = Tokens(1, 10**6), Serve(1024, batch=2), Serve(1024, batch=10_000)
    one = estimate(planned("llama3-8b", few), tokens, RATES).write_seconds
    all_ = estimate(planned("llama3-8b", many), tokens, RATES).write_seconds
    least = 1e6 * forward_flops(known("llama3-8b"), 512) / 4e13  # they hold half on average
    assert all_ == pytest.approx(least, rel=1e-3)
    assert all_ < one / 10


def test_more_devices_read_faster_and_draw_more() -> None:
    tokens, use = Tokens(10**6, 10**6), Serve(2048)
    one = estimate(planned("falcon-180b", use), tokens, RATES)
    five = estimate(planned("falcon-180b", use, machines=5), tokens, RATES)
    assert five.read_seconds == pytest.approx(one.read_seconds / 5)
    assert five.write_seconds == one.write_seconds
    assert five.kwh == pytest.approx(5 * 500 * five.seconds / 3.6e6)
    assert any("5 devices hold one copy" in note for note in five.notes)


def test_small_models_are_bound_by_the_program() -> None:
    small, tokens = replace(RATES, bandwidth=1e15), Tokens(0, 1000)
    card = estimate(planned("llama3.2-1b", Serve(2048)), tokens, small)
    here = planned("llama3.2-1b", Serve(2048), device=replace(CARD, kind="cpu"))
    assert card.write_seconds == pytest.approx(1000 * 16 * 0.4e-3)
    assert estimate(here, tokens, small).write_seconds > card.write_seconds


@pytest.mark.parametrize(("method", "factor"), [("full", 3), ("lora", 2)])
def test_tuning_counts_forward_and_backward(method: str, factor: int) -> None:
    plan = planned("llama3-8b", Tune(method, 2048))  # type: ignore[arg-type]
    cost = estimate(plan, Tokens(700_000, 300_000), RATES)
    spec = plan.sketch.spec
    products, attention = forward_flops(spec, 0), forward_flops(spec, 1024) - forward_flops(spec, 0)
    each = factor * products + 3 * attention
    assert cost.read_seconds == pytest.approx(1e6 * each / 4e13)
    assert cost.write_seconds == 0


def test_rates_that_are_not_known_give_no_time() -> None:
    assert rates_of(replace(CARD, flops=None), "bfloat16", measured=False) is None
    assert rates_of(replace(CARD, bandwidth=None), "bfloat16", measured=False) is None
    assert rates_of(CARD, "float32", measured=False) is None  # sheets speak of 16 bits
    sheet, here = (rates_of(CARD, "bfloat16", measured=measured) for measured in (False, True))
    assert sheet is not None
    assert here is not None
    assert here.flops_share > sheet.flops_share
    assert (
        estimate(planned("bloom", Serve(2048)), Tokens(1, 1), replace(sheet, watts=None)).kwh
        is None
    )
