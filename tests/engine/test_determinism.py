"""In the deterministic mode an answer is the same to the last bit, whoever else is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from puna.engine import Completion, Engine, Request, Sampling
from puna.engine.native import fastest
from puna.engine.runner import Maker, in_torch
from puna.loading import load_parts
from puna.model import Decoder
from puna.spec import ModelSpec
from tests.engine.parts import Looking, greedy, looking, windowed
from tests.parity.forms import FORMS
from tests.unit.tiny import tiny

FAMILIES = ["gemma2", "qwen3-moe", "gpt-oss", "bloom-8-heads-untied", "deepseek-v3-groups"]


def ask(name: str, prompt: tuple[int, ...], vocab: int, say: int = 8, **more: Any) -> Request:
    """Ask for the log probabilities of all ids: as good as the logits."""
    return Request(name, prompt, say, top_logprobs=vocab, **more)


def crowd(mine: Request, vocab: int) -> list[Request]:
    draw = torch.Generator().manual_seed(8)
    others = [tuple(torch.randint(2, vocab, (n,), generator=draw).tolist()) for n in (1, 40, 17, 5)]
    others += [mine.prompt_ids[:20], (*mine.prompt_ids, 3)]
    return [Request(f"o{n}", text, 9) for n, text in enumerate(others)]


def exactly(one: Completion, two: Completion) -> bool:
    return (one.token_ids, one.logprobs, one.top_logprobs) == (
        two.token_ids,
        two.logprobs,
        two.top_logprobs,
    )


def torch_engine(model: Decoder, spec: ModelSpec, **limits: Any) -> Engine:
    """The library's products, which do depend on company, so that the mode has work to do."""
    return Engine(model, spec, deterministic=True, runner=in_torch, **limits)


def check(spec: ModelSpec, model: Decoder, prompt: tuple[int, ...], **more: Any) -> None:
    """Alone, in company, cut otherwise, from the cache, after giving way: always the same."""
    for runner in (in_torch, fastest):
        check_with(runner, spec, model, ask("mine", prompt, spec.vocab, **more))


def check_with(runner: Maker, spec: ModelSpec, model: Decoder, mine: Request) -> None:
    def engine(**limits: Any) -> Engine:
        return Engine(model, spec, deterministic=True, runner=runner, **limits)

    (want,) = engine().run([mine])
    beside = crowd(mine, spec.vocab)
    busy = engine()
    found = [busy.run([*beside, mine])[-1]]
    found += busy.run([mine])  # now from the cache
    found += engine(max_batch_tokens=3).run([mine, *beside])[:1]
    found += engine(max_sequences=2).run([*beside, mine])[-1:]
    tight = engine(cache_tokens=len(mine.prompt_ids) + mine.max_tokens + 40, max_batch_tokens=30)
    found += tight.run([*beside, mine])[-1:]
    assert all(exactly(want, one) for one in found)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_answer_to_the_last_bit(name: str, tmp_path: Path) -> None:
    form = next(form for form in FORMS if form.id == name)
    form.make(tmp_path)
    parts = load_parts(tmp_path, dtype="float32", device="cpu")
    draw = torch.Generator().manual_seed(2)
    prompt = tuple(torch.randint(2, parts.spec.vocab, (37,), generator=draw).tolist())
    check(parts.spec, parts.model, prompt)


@pytest.mark.parametrize("make", [tiny, windowed], ids=["whole", "window"])
@pytest.mark.parametrize("length", [255, 256, 257, 600])
def test_long_prompts_answer_to_the_last_bit(make: Any, length: int) -> None:
    """These are cut; the pages of whole chunks are shared, and only those."""
    spec, model = make(max_position_embeddings=1024)
    prompt = tuple((7 * n * n + n) % 61 for n in range(length))
    check(spec, model, prompt, sampling=Sampling(temperature=0.9), seed=5)


def test_what_is_reused_was_cut_in_the_same_places() -> None:
    spec, model = tiny(max_position_embeddings=1024)
    text = tuple((7 * n * n + n) % 61 for n in range(700))
    made: list[Looking] = []
    engine = Engine(model, spec, deterministic=True, runner=looking(made), max_batch_tokens=300)
    cached = [
        engine.run([Request("a", text[:length], 1)])[0].usage.cached_tokens
        for length in (700, 512, 513, 600, 255)
    ]
    assert cached == [0, 256, 512, 512, 0]
    assert all(len(chunks) == 1 for chunks in made[0].steps)
    assert all(chunk.start % 256 == 0 for chunks in made[0].steps for chunk in chunks)


def test_what_was_said_is_not_reused_as_if_it_had_been_read() -> None:
    """The page that an answer filled, token by token, is not what a chunk would have made it."""
    spec, model = tiny(max_position_embeddings=1024)
    text = tuple((7 * n * n + n) % 61 for n in range(250))
    engine = torch_engine(model, spec)
    (first,) = engine.run([Request("a", text, 20)])
    again = ask("b", (*text, *first.token_ids, 4, 5), spec.vocab)
    (done,) = engine.run([again])
    assert done.usage.cached_tokens == 0
    assert exactly(done, torch_engine(model, spec).run([again])[0])


def test_with_an_invariant_runner_nothing_changes() -> None:
    spec, model = tiny()
    steps = []
    for deterministic in (False, True):
        made: list[Looking] = []
        engine = Engine(
            model, spec, deterministic=deterministic, runner=looking(made, invariant=True)
        )
        asked = [Request(f"r{n}", (1, 2, 3, 4) * 5, 30) for n in range(3)]
        for request, done in zip(asked, engine.run(asked), strict=True):
            assert list(done.token_ids) == greedy(model, request.prompt_ids, 30)
        steps.append([[(c.start, c.count) for c in chunks] for chunks in made[0].steps])
    assert steps[0] == steps[1]
    assert max(map(len, steps[1])) == 3


def test_a_wider_model_answers_to_the_last_bit() -> None:
    """Wide enough for the library to choose its kernels by the number of rows."""
    spec, model = tiny(hidden_size=256, intermediate_size=700, num_attention_heads=4)
    check(spec, model, tuple(range(30)))
