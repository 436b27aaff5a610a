"""How far one form of a model is from another on text: divergence, top tokens, perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from puna.data import encode_all, read_examples
from puna.errors import DataError, UsageError
from puna.loading import Parts
from puna.model import Decoder, Rows, hidden_states
from puna.seal import golden_prompts

# Ids of a window of plain text, and the most that are read of a file.
WINDOW, MOST = 512, 32_768
# Rows of logits that are held at once.
_ROWS = 128


@dataclass(frozen=True, slots=True)
class Quality:
    """One form of a model held against another.

    Args:
        tokens: positions that were looked at.
        kl: mean divergence of the next-token distribution from that of the first, in nats.
        top1: share of positions where the likeliest token is the same.
        before, after: perplexity of the text under the first and under the second.
    """

    tokens: int
    kl: float
    top1: float
    before: float
    after: float


@torch.inference_mode()
def compare_models(
    first: Decoder,
    second: Decoder,
    sequences: Sequence[Sequence[int]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Run sequences of at least two ids through both forms of a model; see `Quality`."""
    total = sum(len(ids) - 1 for ids in sequences)
    sums = torch.zeros(4, dtype=torch.float64)
    done = 0
    for ids in sequences:
        states = [hidden_states(model, [ids], None)[:-1] for model in (first, second)]
        wanted = torch.tensor(ids[1:], device=first.device)
        for start in range(0, len(wanted), _ROWS):
            part = slice(start, start + _ROWS)
            one, two = (
                model.head(x[part], Rows()).log_softmax(-1)
                for model, x in zip((first, second), states, strict=True)
            )
            sums += differences(one, two, wanted[part])
        done += len(ids) - 1
        if progress:
            progress(done, total)
    return quality_of(sums, total)


def quality_of(sums: Tensor, tokens: int) -> Quality:
    """Return the means of `differences`, added up over so many rows."""
    kl, same, before, after = (sums / tokens).tolist()
    return Quality(tokens, max(kl, 0.0), same, math.exp(before), math.exp(after))


def differences(one: Tensor, two: Tensor, wanted: Tensor) -> Tensor:
    """Return sums over rows [R, vocab] of log probabilities: divergence, equal tops, surprise.

    `wanted` [R] are the ids that came; the last two sums are their surprise under either.
    """
    kl = (one.exp() * (one - two)).sum()
    same = (one.argmax(-1) == two.argmax(-1)).sum()
    said = [-table.gather(1, wanted[:, None]).sum() for table in (one, two)]
    return torch.stack([kl, same.float(), *said]).double().cpu()


def read_sequences(file: Path, parts: Parts) -> list[tuple[int, ...]]:
    """Return the ids of a text file in windows, or of the rows of a `.jsonl` file.

    At most `MOST` ids are read.

    Raises:
        UsageError: the model has no tokenizer.
        DataError: a file that cannot be read, or that holds no text.
    """
    text, context = parts.text, parts.spec.context
    if text.tokenizer is None:
        raise UsageError("a model without a tokenizer reads no text", remedy="leave the file out")
    if file.suffix == ".jsonl":
        rows = encode_all(
            read_examples(file), tokenizer=text.tokenizer, template=text.template, context=context
        )
        found = [tuple(row.ids.tolist()) for row in rows]
    else:
        found = list(_windows(text.tokenizer.encode(_read(file)), min(WINDOW, context)))
    kept = list(_first([ids for ids in found if len(ids) > 1]))
    if not kept:
        raise DataError("the file holds no text", where=str(file))
    return kept


def golden_sequences(parts: Parts) -> list[tuple[int, ...]]:
    """Return the ids of the prompts that every seal is made of."""
    spec = parts.spec
    prompts = golden_prompts(parts.text, vocab=spec.vocab, context=spec.context)
    return [prompt.ids for prompt in prompts if len(prompt.ids) > 1]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the text cannot be read: {error}", where=str(file)) from error


def _windows(ids: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    ends = [*range(0, len(ids), size), len(ids)]
    yield from (tuple(ids[a:b]) for a, b in pairwise(ends))


def _first(sequences: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    left = MOST
    for ids in sequences:
        if len(ids) > left:
            return
        left -= len(ids)
        yield ids
