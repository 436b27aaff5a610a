"""Keys and values in 8 bits: half the pages' bytes, nearly the same answers, nothing poisoned."""

from __future__ import annotations

import pytest
import torch

import puna
from puna.engine import PAGE, Engine, PagePool, Request, Runner, TorchRunner, value_bytes
from puna.engine.runner import in_torch
from puna.errors import UsageError
from puna.model import Decoder
from puna.plan import Serve
from puna.plan.costs import cache_bytes
from puna.spec import ModelSpec, kv_bytes_per_token
from tests.unit.tiny import tiny


def test_a_page_takes_a_byte_for_each_number_and_four_for_each_head() -> None:
    spec, _ = tiny()
    device = torch.device("cpu")
    made = PagePool(spec, limit=3, dtype=torch.int8, device=device)
    heads = sum(2 * layer.mixer.kv_heads for layer in spec.layers)
    assert made.page_bytes(0) == PAGE * heads * (spec.layers[0].mixer.head_dim + 4)
    assert made.page_bytes(0) == PAGE * kv_bytes_per_token(spec, **value_bytes(torch.int8))
    use = Serve(3 * PAGE, cache="int8")
    assert cache_bytes(spec, use, torch.bfloat16) == 4 * made.page_bytes(0)


def test_what_cria_says_stays_near_what_it_said() -> None:
    """Log probabilities of the same text, token by token; and most of what greedy picks."""
    whole, rounded = (puna.load("cria", device="cpu", cache=cache) for cache in ("auto", "int8"))
    prompts = ["The llama", "Once upon a time", "A fox saw a stone and"]
    same = total = 0
    for prompt in prompts:
        one, other = (lm.generate(prompt, max_tokens=40, logprobs=True) for lm in (whole, rounded))
        for a, b, p, q in zip(one.ids, other.ids, one.logprobs, other.logprobs, strict=False):
            total += 1
            if a != b:
                break
            same += 1
            assert q == pytest.approx(p, abs=0.3)
    assert same > 0.7 * total


@pytest.mark.parametrize("compiled", [True, False])
def test_values_that_are_not_finite_leave_no_page_behind(compiled: bool) -> None:
    spec, model = tiny()
    model.embed.tokens[7] = float("nan")

    def make(model: Decoder, spec: ModelSpec, pool: PagePool) -> Runner:
        return in_torch(model, spec, pool)

    how = {} if compiled else {"runner": make}
    engine = Engine(model, spec, cache_dtype=torch.int8, cache_tokens=64, context=64, **how)
    assert isinstance(engine.runner, TorchRunner) or compiled
    bad, good = engine.run([Request("bad", (3, 7, 3), 5), Request("good", (3, 5, 3), 5)])
    assert bad.finish == "error"
    assert "not finite" in (bad.error or "")
    pages = range(engine._pool.groups[0].touched + 1)
    assert all(engine._pool.finite(0, pages))
    (again,) = engine.run([Request("again", (3, 5, 3), 5)])
    assert good.token_ids == again.token_ids


def test_prefixes_are_shared_as_ever() -> None:
    spec, model = tiny()
    prompt = tuple((5 * n) % 59 for n in range(50))
    engine = Engine(model, spec, cache_dtype=torch.int8)
    first, second = (engine.run([Request(name, prompt, 9)])[0] for name in "ab")
    assert first.token_ids == second.token_ids
    assert second.usage.cached_tokens == 48


def test_an_unknown_cache_is_named() -> None:
    with pytest.raises(UsageError, match="unknown cache 'int4'") as caught:
        puna.load("cria", device="cpu", cache="int4")  # type: ignore[arg-type]
    assert caught.value.remedy == "choose auto or int8"
