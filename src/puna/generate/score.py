"""Log probabilities in one pass, without a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from puna.generate.options import Score
from puna.model import Decoder, Rows, hidden_states

# The ids of prompt and continuation, and where the continuation starts.
Pair = tuple[tuple[int, ...], int]

# Tokens that one-shot scoring runs through the decoder at a time.
_SCORE_TOKENS = 4096


def score_pairs(model: Decoder, pairs: Sequence[Pair], adapter: int | None) -> list[Score]:
    """Return the log probabilities of each continuation, several pairs to a pass."""
    return [score for batch in _batches(pairs) for score in _score_batch(model, batch, adapter)]


def shared_start(one: Sequence[int], two: Sequence[int]) -> int:
    """Return how many ids two sequences begin with alike."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(two)))


def _score_batch(model: Decoder, batch: Sequence[Pair], adapter: int | None) -> Iterator[Score]:
    hidden = hidden_states(model, [ids for ids, _ in batch], adapter)
    offset = 0
    for ids, start in batch:
        rows = hidden[offset + start - 1 : offset + len(ids) - 1]
        logits = model.head(rows, Rows(adapter))  # [continuation, vocab]
        said = torch.tensor(ids[start:], device=model.device)
        chosen = logits.log_softmax(-1).gather(1, said[:, None])[:, 0].tolist()
        greedy = bool((logits.argmax(-1) == said).all())
        yield Score(sum(chosen), tuple(chosen), greedy)
        offset += len(ids)


def _batches(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    batch: list[Pair] = []
    tokens = 0
    for pair in pairs:
        if batch and tokens + len(pair[0]) > _SCORE_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(pair)
        tokens += len(pair[0])
    if batch:
        yield batch
