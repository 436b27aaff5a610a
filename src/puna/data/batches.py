"""Ragged batches in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.data.encode import Encoded


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences end to end: ids [N] of these lengths; hidden row `rows[m]` says `targets[m]`."""

    ids: Tensor
    lengths: tuple[int, ...]
    rows: Tensor
    targets: Tensor


def order(count: int, *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the batches of one epoch as indices; every example stands in exactly one."""
    generator = torch.Generator().manual_seed((seed << 20) + epoch)
    shuffled = torch.randperm(count, generator=generator).tolist()
    return [shuffled[at : at + batch_size] for at in range(0, count, batch_size)]


def collate(examples: Sequence[Encoded], *, max_tokens: int) -> list[Batch]:
    """Lay examples end to end in as few batches of at most `max_tokens` as their order allows.

    An example longer than that gets a batch of its own.
    """
    groups: list[list[Encoded]] = []
    held = 0
    for example in examples:
        if not groups or held + len(example.ids) > max_tokens:
            groups.append([])
            held = 0
        groups[-1].append(example)
        held += len(example.ids)
    return [_batch(group) for group in groups]


def fingerprint(examples: Sequence[Encoded]) -> str:
    """Return a SHA-256 over all ids and masks, to tell whether a run goes on with its own data."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(len(example.ids).to_bytes(8, "little"))
        digest.update(example.ids.numpy().tobytes())
        digest.update(example.learn.numpy().tobytes())
    return digest.hexdigest()


def _batch(examples: Sequence[Encoded]) -> Batch:
    lengths = tuple(len(example.ids) for example in examples)
    ids = torch.cat([example.ids for example in examples]).long()
    learn = torch.cat([example.learn for example in examples])
    starts = torch.tensor((0, *lengths[:-1])).cumsum(0)
    learn[starts] = False  # nothing stands before the first token of a sequence
    said = learn.nonzero()[:, 0]
    return Batch(ids, lengths, said - 1, ids[said])
