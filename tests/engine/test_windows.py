"""Layers that see a window hold a window: pages go back, and nothing is read beyond them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from puna.engine import PAGE, Chunk, Engine, Request, arrange
from puna.errors import ContextError
from puna.model import Decoder, Rows, Segments
from puna.spec import ModelSpec
from tests.engine.parts import Looking, greedy, looking, windowed
from tests.parity.forms import FORMS
from tests.unit.tiny import tiny

WINDOW = 20
LONG = tuple((11 * n * n + n) % 59 for n in range(600))


def long_windowed() -> tuple[ModelSpec, Decoder]:
    return windowed(max_position_embeddings=1024)


@pytest.mark.parametrize("budget", [2048, 100, 7, 1])
def test_what_is_said_is_what_one_shot_says(budget: int) -> None:
    spec, model = long_windowed()
    length = 300 if budget > 7 else 90
    made: list[Looking] = []
    engine = Engine(model, spec, max_batch_tokens=budget, runner=looking(made))
    asked = [Request(f"r{n}", LONG[n : n + length], 12, logprobs=True) for n in range(2)]
    for request, done in zip(asked, engine.run(asked), strict=True):
        assert list(done.token_ids) == greedy(model, request.prompt_ids, 12)
        assert list(done.logprobs) == pytest.approx(one_shot(model, request, done.token_ids))


def one_shot(model: Decoder, request: Request, said: tuple[int, ...]) -> Any:
    ids = torch.tensor([*request.prompt_ids, *said])
    ctx = Segments([len(ids)])
    table = model.head(model(ids, ctx.positions, ctx), Rows()).log_softmax(-1)
    first = len(request.prompt_ids) - 1
    want = [float(table[first + n, token]) for n, token in enumerate(said)]
    return pytest.approx(want, abs=2e-4)


def test_pages_that_have_left_the_window_go_back() -> None:
    spec, model = long_windowed()
    made: list[Looking] = []
    engine = Engine(model, spec, max_batch_tokens=32, runner=looking(made), speculation=None)
    engine.submit(Request("a", LONG, 200))
    whole, window = engine._pool.groups
    most = 0
    while not engine.idle:
        engine.step()
        most = max(most, window.held)
    assert most <= (WINDOW + 32) // PAGE + 2
    assert whole.touched == -(-(600 + 199) // PAGE)
    # The windows before the prompt's end and the text's end stay for whoever goes on from there.
    assert window.touched <= most + 2 * (WINDOW // PAGE + 2)
    chunk = made[0].steps[-1][0]
    first = (chunk.start - WINDOW + 1) // PAGE
    assert list(chunk.tables[1][:first]) == [0] * first
    assert all(chunk.tables[1][first:])
    assert all(chunk.tables[0])


def test_a_step_reads_no_more_than_the_window() -> None:
    for start, count in ((900, 1), (900, 100), (0, 1000), (3, 5)):
        (pieces,) = arrange([Chunk(((),), start, count, 2000, None)], None)
        assert [(p.first, p.count, p.pages) for p in pieces] == [
            (0, count, -(-(start + count) // PAGE))
        ]
        cut = [
            p for pieces in arrange([Chunk(((),), start, count, 2000, None)], 200) for p in pieces
        ]
        assert sum(p.count for p in cut) == count
        for piece in cut:
            assert piece.first * PAGE <= max(0, piece.start - 199)
            assert (piece.first + piece.pages) * PAGE >= piece.start + piece.count
            assert piece.pages <= (199 + piece.count) // PAGE + 2
            assert piece.count <= 200


def test_where_every_layer_has_a_window_a_long_text_needs_few_pages() -> None:
    changes = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    spec, model = tiny(**changes, sliding_window=WINDOW, max_position_embeddings=1024)
    engine = Engine(model, spec, cache_tokens=800, max_sequences=1, max_batch_tokens=48)
    (done,) = engine.run([Request("a", LONG, 20)])
    assert list(done.token_ids) == greedy(model, LONG, 20)
    (group,) = engine._pool.groups
    assert group.limit * PAGE < 200
    with pytest.raises(ContextError, match="context is 800"):
        engine.submit(Request("b", LONG, 300))


def test_a_model_with_windows_holds_less() -> None:
    (spec, model), (plain_spec, plain) = long_windowed(), tiny(max_position_embeddings=1024)
    engines = [Engine(model, spec), Engine(plain, plain_spec)]
    held = []
    for engine in engines:
        engine.submit(Request("a", LONG, 50))
        engine.step()
        engine.step()
        held.append(engine._pool.bytes_held)
    assert held[0] < 0.6 * held[1]


def test_a_beginning_is_reused_only_where_its_window_stands() -> None:
    spec, model = long_windowed()
    engine = Engine(model, spec, speculation=None)

    def ask(prompt: tuple[int, ...]) -> int:
        (done,) = engine.run([Request("a", prompt, 30)])
        assert list(done.token_ids) == greedy(model, prompt, 30)
        return done.usage.cached_tokens

    assert ask(LONG[:200]) == 0
    assert ask(LONG[:200]) == 192  # the window before the prompt's end was kept
    fork = (*LONG[:100], 1, 2, 3, *LONG[300:350])
    assert ask(fork) == 0  # what stood before the fork went back; it is kept from now on
    assert ask((*LONG[:100], 3, 2, 1, *LONG[250:290])) == 96
    assert ask(LONG[:200]) == 192
    # Where the pages of the window are taken away, the whole beginning is computed again.
    window = engine._pool.groups[1]
    window.forget()
    assert ask(fork) == 0


def test_who_waits_for_a_beginning_finds_the_window_before_its_end() -> None:
    spec, model = long_windowed()
    engine = Engine(model, spec)
    asked = [Request(f"r{n}", (*LONG[:100], n, *LONG[200 : 250 + n]), 4) for n in range(3)]
    done = engine.run(asked)
    assert [one.usage.cached_tokens for one in done] == [0, 96, 96]
    for request, one in zip(asked, done, strict=True):
        assert list(one.token_ids) == greedy(model, request.prompt_ids, 4)


def test_a_small_cache_with_windows_recomputes_and_loses_nothing() -> None:
    spec, model = long_windowed()
    engine = Engine(model, spec, cache_tokens=10 * PAGE, max_batch_tokens=50)
    asked = [Request(f"r{n}", LONG[n : n + 40 + 7 * n], 30) for n in range(6)]
    for request, done in zip(asked, engine.run(asked), strict=True):
        assert list(done.token_ids) == greedy(model, request.prompt_ids, 30)


WINDOWED_FORMS = [form for form in FORMS if "window" in form.id or form.id in ("gemma2", "gpt-oss")]


@pytest.mark.parametrize("form", WINDOWED_FORMS, ids=lambda form: form.id)
def test_every_family_with_windows_recomputes_alike(form: Any, tmp_path: Any) -> None:
    """Chunks, dropped pages, preemption and reuse at once, against a roomy engine."""
    from puna.loading import load_parts

    form.make(tmp_path)
    parts = load_parts(tmp_path, dtype="float32", device="cpu")
    vocab = parts.spec.vocab
    draw = torch.Generator().manual_seed(3)
    base = torch.randint(2, vocab, (40,), generator=draw).tolist()
    asked = [Request(f"r{n}", tuple(base[: 8 + 7 * n]), 20, logprobs=True) for n in range(5)]
    roomy = [Engine(parts.model, parts.spec).run([one])[0] for one in asked]
    tight = Engine(parts.model, parts.spec, cache_tokens=80, max_batch_tokens=24).run(asked)
    for one, other in zip(roomy, tight, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


MEASURE = """
import resource, sys, torch
from tests.unit.tiny import tiny
from puna.engine import Engine, Request
from puna.engine.runner import in_torch
torch.set_num_threads(1)
spec, model = tiny(max_position_embeddings=40000, num_attention_heads=2, num_key_value_heads=1,
                   hidden_size=16, num_hidden_layers=1)
engine = Engine(model, spec, max_batch_tokens=512, cache_tokens=40000, runner=in_torch)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
engine.run([Request("warm", (1,) * 600, 2)])
before = peak()
engine.run([Request("a", tuple(n % 59 for n in range(int(sys.argv[1]))), 2)])
print(peak() - before)
"""


def test_what_a_prompt_takes_of_memory_grows_with_its_length() -> None:
    """Not with its square: a mask of all tokens by all tokens would be 144 MB and more here."""
    run = [sys.executable, "-c", MEASURE]
    short, long = (int(subprocess.check_output([*run, str(n)])) for n in (3_000, 12_000))
    assert long < 4.5 * max(short, 16 << 20)
