"""The checks of parity as numbers; the tests bound them and `bench/parity.py` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from puna.engine import Engine, Request, Sampling
from puna.families import saved_form
from puna.loading import Parts, load_parts
from puna.model import Rows, Segments
from puna.weights import save_folder
from tests.parity.forms import SEQUENCES, Form


@dataclass(frozen=True)
class Opened:
    """One form, open on both sides, with the sequences to compare."""

    folder: Path
    reference: Any
    parts: Parts
    sequences: list[Tensor]


def open_form(form: Form, folder: Path) -> Opened:
    """Make the checkpoint, load it by Puna from disk, and draw the sequences."""
    reference = form.make(folder)
    parts = load_parts(folder, dtype="float32", device="cpu")
    generator = torch.Generator().manual_seed(7)
    sequences = [torch.randint(parts.spec.vocab, (n,), generator=generator) for n in SEQUENCES]
    return Opened(folder, reference, parts, sequences)


@torch.no_grad()
def reference_logits(model: Any, ids: Tensor) -> Tensor:
    """Return the reference's logits [T, V] for one sequence alone."""
    return model(ids[None]).logits[0].float()


@torch.no_grad()
def ragged_logits(parts: Parts, sequences: list[Tensor]) -> list[Tensor]:
    """Return our logits of each sequence, all computed in one ragged call."""
    lengths = [len(s) for s in sequences]
    ctx = Segments(lengths)
    hidden = parts.model(torch.cat(sequences), ctx.positions, ctx)
    return list(parts.model.head(hidden, Rows()).split(lengths))


def logits_difference(opened: Opened) -> float:
    """Return the largest difference to the reference over all positions of all sequences."""
    ours = ragged_logits(opened.parts, opened.sequences)
    return max(
        float((reference_logits(opened.reference, ids) - got).abs().max())
        for ids, got in zip(opened.sequences, ours, strict=True)
    )


def saved_difference(opened: Opened, folder: Path) -> float:
    """Return the largest difference after Puna saved the folder and the reference loaded it."""
    from transformers import AutoModelForCausalLM

    parts = opened.parts
    table, config = saved_form(parts.spec, parts.config)
    save_folder(parts.model, table, folder, config=config, shard_bytes=20_000)
    kind = opened.reference.config._attn_implementation
    again = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=kind).eval()
    return max(
        float((reference_logits(opened.reference, ids) - reference_logits(again, ids)).abs().max())
        for ids in opened.sequences
    )


def decode_difference(opened: Opened, *, chunk: int, steps: int = 8) -> float:
    """Return how far chunked prefill and cached decode are from one shot, as log probabilities.

    The engine generates greedily over pages; one shot scores the same ids in one ragged call
    whose sequences were admitted with the same length.
    """
    parts, worst = opened.parts, 0.0
    engine = Engine(parts.model, parts.spec, max_batch_tokens=chunk)
    room = parts.spec.context
    prompts = [ids[: min(len(ids), room - steps)] for ids in opened.sequences]
    done = engine.run(
        [
            Request(f"r{i}", tuple(p.tolist()), steps, Sampling(), logprobs=True)
            for i, p in enumerate(prompts)
        ]
    )
    for prompt, completion in zip(prompts, done, strict=True):
        said = torch.tensor(completion.token_ids)
        whole = torch.cat([prompt, said])
        ctx = Segments([len(whole)], spans=[min(len(prompt) + steps, room)])
        with torch.no_grad():
            logits = parts.model.head(parts.model(whole, ctx.positions, ctx), ctx.rows)
        table = logits[len(prompt) - 1 : -1].log_softmax(-1)
        # Greedy may differ where two tokens tie; the chosen one must still be as likely.
        want = table.gather(1, said[:, None])[:, 0]
        best = float((table.max(-1).values - want).abs().max())
        drift = float((want - torch.tensor(completion.logprobs)).abs().max())
        worst = max(worst, best, drift)
    return worst
