"""How often a token of an answer depends on what else is computed, and that a mode ends it.

    python -m bench.flips                    a table
    python -m bench.flips --json             the same for machines
    python -m bench.flips --prompts 64 --tokens 128

A sum of many numbers in float32, or in bfloat16, depends on its order, and libraries order it by
the number of rows that they compute at once. Where two tokens are almost as likely the greedy pick
may flip by that, and from there on the text is another, equally good one. Measured is each
condition against every prompt by itself, one token at a time; a sequence counts up to its first
flip. The compiled runner sums each row in one order, so it should have none; nor should torch in
the deterministic mode. Both are measured like the others.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from puna.engine import Completion, Engine, PromptLookup, Request, Speculation
from puna.engine.native import fastest
from puna.engine.runner import Maker, in_torch
from puna.families import read_config
from puna.loading import load_parts
from puna.model import Decoder, build, initialize
from puna.spec import ModelSpec

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_RANDOM = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
# What each prompt begins with where the cache is measured, and the most that follows.
_SHARED, _OWN = 96, 64


Found = tuple[str, list[Completion], list[Completion]]


@dataclass(frozen=True, slots=True)
class Row:
    """One condition: answers that flipped, and tokens that were compared until they did.

    `drift` is the largest change of the log probability of a token that both said.
    """

    model: str
    dtype: str
    runner: str
    condition: str
    answers: int
    flipped: int
    tokens: int
    drift: float

    @property
    def rate(self) -> float:
        """Flips for each token."""
        return self.flipped / max(1, self.tokens)


def models(dtype: str) -> Iterable[tuple[str, ModelSpec, Decoder]]:
    """Yield the built-in model, and a random one whose likeliest tokens are close together."""
    parts = load_parts("cria", dtype=dtype, device="cpu")  # type: ignore[arg-type]
    yield "cria", parts.spec, parts.model
    spec = read_config(_RANDOM)
    model = build(spec, device="cpu", dtype=_DTYPES[dtype])
    initialize(model, seed=1, std=0.15)  # at 0.02 it says one token for ever
    yield "random 8M", spec, model.eval().requires_grad_(False)


def requests(spec: ModelSpec, count: int, say: int) -> list[Request]:
    """Return prompts that share their beginning."""
    draw = random.Random(7)
    shared = draw.choices(range(8, spec.vocab), k=_SHARED)
    own = [draw.choices(range(8, spec.vocab), k=draw.randint(1, _OWN)) for _ in range(count)]
    return [Request(f"r{n}", (*shared, *one), say, logprobs=True) for n, one in enumerate(own)]


def answers(engine: Engine, asked: Sequence[Request], together: int) -> list[Completion]:
    """Return what is said with so many at once."""
    groups = [asked[n : n + together] for n in range(0, len(asked), together)]
    return [done for group in groups for done in engine.run(group)]


def measure(name: str, dtype: str, parts: tuple[ModelSpec, Decoder], n: int, say: int) -> list[Row]:
    """Compare every condition with each prompt by itself, for every runner."""
    spec, model = parts
    asked = requests(spec, n, say)
    rows = []
    for runner, make in (("torch", in_torch), ("compiled", fastest)):

        def engine(make: Maker = make, **more: Any) -> Engine:
            return Engine(model, spec, **{"speculation": None, "runner": make, **more})

        if runner == "compiled" and not engine().runner.invariant:
            continue  # no compiled code here, or not for this model
        rows += [_row(name, dtype, runner, *found) for found in _conditions(engine, asked)]
    return rows


def _conditions(engine: Callable[..., Engine], asked: Sequence[Request]) -> Iterator[Found]:
    """Yield what was changed, what each prompt is answered by itself, and what with the change."""

    def each(**more: Any) -> list[Completion]:
        return [said for one in asked for said in answers(engine(**more), [one], 1)]

    plain = each()
    yield "16 at once", plain, answers(engine(), asked, 16)
    yield "prompts in chunks of 32", plain, each(max_batch_tokens=32)
    yield "beginnings from the cache", plain, answers(engine(), asked, 1)
    eager = Speculation(drafter=PromptLookup(shortest=1))
    yield "prompt lookup", plain, each(speculation=eager)
    exact, crowded = each(deterministic=True), engine(deterministic=True)
    yield "deterministic, 16 at once", exact, answers(crowded, asked, 16)
    yield "deterministic, from the cache", exact, answers(crowded, asked, 1)


def _row(
    name: str,
    dtype: str,
    runner: str,
    condition: str,
    want: Sequence[Completion],
    got: Sequence[Completion],
) -> Row:
    pairs = list(zip(want, got, strict=True))
    same = [_alike(one.token_ids, two.token_ids) for one, two in pairs]
    flipped = sum(one.token_ids != two.token_ids for one, two in pairs)
    drift = max(
        abs(a - b)
        for (one, two), known in zip(pairs, same, strict=True)
        for a, b in zip(one.logprobs[:known], two.logprobs[:known], strict=True)
    )
    return Row(name, dtype, runner, condition, len(want), flipped, sum(same) + flipped, drift)


def _alike(one: Sequence[int], two: Sequence[int]) -> int:
    """Return how many tokens come before the first that differs."""
    pairs = zip(one, two, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(two)))


def table(rows: Iterable[Row]) -> Table:
    """Return what is printed."""
    found = Table("model", "dtype", "runner", "against each by itself", "flipped", "rate", "drift")
    for row in rows:
        share = f"{row.flipped} of {row.answers}"
        each = f"1 in {row.tokens // row.flipped} tokens" if row.flipped else f"0 in {row.tokens}"
        found.add_row(
            row.model, row.dtype, row.runner, row.condition, share, each, f"{row.drift:.1e}"
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [
        row
        for dtype in _DTYPES
        for name, *parts in models(dtype)
        for row in measure(name, dtype, (parts[0], parts[1]), given.prompts, given.tokens)
    ]
    if given.json:
        print(json.dumps([{**asdict(row), "rate": row.rate} for row in rows], indent=1))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
