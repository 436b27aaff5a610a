"""Log probabilities in one pass, without a cache; what pairs begin with alike is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.generate.options import Score
from puna.model import Decoder, Rows
from puna.model.branches import Branches, Tree
from puna.spec import DynamicScaling, LongRopeScaling, ModelSpec, Rope

# The ids of prompt and continuation, and where the continuation starts.
Pair = tuple[tuple[int, ...], int]

# Tokens that one-shot scoring runs through the decoder at a time.
_SCORE_TOKENS = 4096


def score_pairs(
    model: Decoder, spec: ModelSpec, pairs: Sequence[Pair], adapter: int | None
) -> list[Score]:
    """Return the log probabilities of each continuation, several pairs to a pass."""
    groups = _groups(pairs, by_length=_turns_by_length(spec))
    return [score for batch in _batches(groups) for score in _score_batch(model, batch, adapter)]


def shared_start(one: Sequence[int], two: Sequence[int]) -> int:
    """Return how many ids two sequences begin with alike."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(two)))


@dataclass(frozen=True, slots=True)
class _Group:
    """Pairs that begin with the same `shared` ids; no continuation starts before these end."""

    pairs: tuple[Pair, ...]
    shared: int

    @property
    def tokens(self) -> int:
        """Tokens to compute."""
        return self.shared + sum(len(ids) - self.shared for ids, _ in self.pairs)

    def tree(self) -> Tree:
        """Return the same as lengths."""
        return Tree(self.shared, tuple(len(ids) - self.shared for ids, _ in self.pairs))

    def flat(self) -> list[int]:
        """Return the ids in the order of the tree."""
        rest = [id for ids, _ in self.pairs for id in ids[self.shared :]]
        return [*self.pairs[0][0][: self.shared], *rest]

    def joined(self, pair: Pair) -> _Group:
        """Return the group with one pair more."""
        shared = min(self.shared, pair[1], shared_start(self.pairs[0][0], pair[0]))
        return _Group((*self.pairs, pair), shared)


def _groups(pairs: Sequence[Pair], *, by_length: bool) -> Iterator[_Group]:
    """Join each pair to those before it where that leaves less to compute."""
    group: _Group | None = None
    for pair in pairs:
        alone = _Group((pair,), pair[1])
        if group is None:
            group = alone
            continue
        same = len(pair[0]) == len(group.pairs[0][0]) or not by_length
        wider = group.joined(pair)
        fits = wider.shared and wider.tokens <= _SCORE_TOKENS
        if same and fits and wider.tokens < group.tokens + alone.tokens:
            group = wider
        else:
            yield group
            group = alone
    if group is not None:
        yield group


def _turns_by_length(spec: ModelSpec) -> bool:
    """Tell whether a token's rotation depends on the length of its sequence."""
    ropes = [layer.mixer.position for layer in spec.layers]
    scalings = [rope.scaling for rope in ropes if isinstance(rope, Rope)]
    return any(isinstance(scaling, DynamicScaling | LongRopeScaling) for scaling in scalings)


def _batches(groups: Iterator[_Group]) -> Iterator[list[_Group]]:
    batch: list[_Group] = []
    tokens = 0
    for group in groups:
        if batch and tokens + group.tokens > _SCORE_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(group)
        tokens += group.tokens
    if batch:
        yield batch


def _score_batch(model: Decoder, batch: Sequence[_Group], adapter: int | None) -> Iterator[Score]:
    ctx = Branches([group.tree() for group in batch], rows=Rows(adapter), device=model.device)
    flat = torch.tensor([id for group in batch for id in group.flat()], device=model.device)
    hidden: Tensor = model(flat, ctx.positions, ctx)
    offset = 0
    for group in batch:
        own = offset + group.shared
        for ids, start in group.pairs:
            first = own + start - group.shared  # where the first token of the continuation stands
            before = offset + group.shared - 1 if start == group.shared else first - 1
            end = own + len(ids) - group.shared
            states = torch.cat((hidden[before : before + 1], hidden[first : end - 1]))
            yield _score(model.head(states, Rows(adapter)), ids[start:])
            own = end
        offset += group.tokens


def _score(logits: Tensor, said: Sequence[int]) -> Score:
    """Return how likely ids are, given the logits [R, vocab] at their places."""
    told = torch.tensor(said, device=logits.device)
    chosen = logits.log_softmax(-1).gather(1, told[:, None])[:, 0].tolist()
    return Score(sum(chosen), tuple(chosen), bool((logits.argmax(-1) == told).all()))
