"""How often a token of an answer depends on what else is computed, and that a mode ends it.

    python -m bench.flips                    a table
    python -m bench.flips --json             the same for machines
    python -m bench.flips --prompts 64 --tokens 128

A sum of many numbers in float32, or in bfloat16, depends on its order, and libraries order it by
the number of rows that they compute at once. Where two tokens are almost as likely the greedy pick
may flip by that, and from there on the text is another, equally good one. Measured is each
condition against every prompt by itself, one token at a time; a sequence counts up to its first
flip. The deterministic mode has none, by construction, and is measured like the others.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Table

from puna.engine import Engine, PromptLookup, Request, Speculation
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


@dataclass(frozen=True, slots=True)
class Row:
    """One condition: answers that flipped, and tokens that were compared until they did."""

    model: str
    dtype: str
    condition: str
    answers: int
    flipped: int
    tokens: int

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
    initialize(model, seed=1)
    yield "random 8M", spec, model.eval().requires_grad_(False)


def requests(spec: ModelSpec, count: int, say: int) -> list[Request]:
    """Return prompts that share their beginning."""
    draw = random.Random(7)
    shared = draw.choices(range(8, spec.vocab), k=_SHARED)
    own = [draw.choices(range(8, spec.vocab), k=draw.randint(1, _OWN)) for _ in range(count)]
    return [Request(f"r{n}", (*shared, *one), say) for n, one in enumerate(own)]


def answers(engine: Engine, asked: Sequence[Request], together: int) -> list[tuple[int, ...]]:
    """Return what is said with so many at once."""
    groups = [asked[n : n + together] for n in range(0, len(asked), together)]
    return [done.token_ids for group in groups for done in engine.run(group)]


def measure(name: str, dtype: str, parts: tuple[ModelSpec, Decoder], n: int, say: int) -> list[Row]:
    """Compare every condition with each prompt by itself."""
    spec, model = parts
    asked = requests(spec, n, say)

    def engine(**more: object) -> Engine:
        return Engine(model, spec, **{"speculation": None, **more})  # type: ignore[arg-type]

    def fresh(**more: object) -> list[tuple[int, ...]]:
        return [said for one in asked for said in answers(engine(**more), [one], 1)]

    eager = Speculation(drafter=PromptLookup(shortest=1))
    exact, crowded = fresh(deterministic=True), engine(deterministic=True)
    plain = fresh()
    found = {
        "16 at once": (plain, answers(engine(), asked, 16)),
        "prompts in chunks of 32": (plain, fresh(max_batch_tokens=32)),
        "beginnings from the cache": (plain, answers(engine(), asked, 1)),
        "prompt lookup": (plain, fresh(speculation=eager)),
        "deterministic, 16 at once": (exact, answers(crowded, asked, 16)),
        "deterministic, from the cache": (exact, answers(crowded, asked, 1)),
    }
    return [_row(name, dtype, what, *both) for what, both in found.items()]


def _row(
    name: str,
    dtype: str,
    condition: str,
    want: Sequence[tuple[int, ...]],
    got: Sequence[tuple[int, ...]],
) -> Row:
    same = [_alike(one, two) for one, two in zip(want, got, strict=True)]
    flipped = sum(one != two for one, two in zip(want, got, strict=True))
    return Row(name, dtype, condition, len(want), flipped, sum(same) + flipped)


def _alike(one: Sequence[int], two: Sequence[int]) -> int:
    """Return how many tokens come before the first that differs."""
    pairs = zip(one, two, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(two)))


def table(rows: Iterable[Row]) -> Table:
    """Return what is printed."""
    found = Table("model", "dtype", "against each prompt by itself", "answers that flip", "rate")
    for row in rows:
        share = f"{row.flipped} of {row.answers}"
        each = f"1 in {row.tokens // row.flipped} tokens" if row.flipped else f"0 in {row.tokens}"
        found.add_row(row.model, row.dtype, row.condition, share, each)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=32)
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
