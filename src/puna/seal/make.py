"""A seal made of an opened model."""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from puna.errors import SealError
from puna.seal.axes import axes_of
from puna.seal.digests import digests_of, write_seal
from puna.seal.look import with_base, with_rows
from puna.seal.prompts import golden_prompts
from puna.seal.record import Golden, Seal, Stop
from puna.seal.verify import Opened


def seal_of(opened: Opened, *, name: str, stop: Stop | None = None) -> Seal:
    """Run the golden prompts and return the seal of what the model does now; digests come later.

    Args:
        opened: the model; with its adapter, if it has one, and then the bare base as well.
        name: of the model.
        stop: how surely answers end, where that was measured.

    Raises:
        SealError: it computes values that are not finite, or begins its prompts twice.
    """
    prompts = golden_prompts(opened.text, vocab=opened.spec.vocab, context=opened.spec.context)
    _check_begin(prompts, opened.text.specials.bos)
    full = with_rows(opened.model, prompts, opened.adapter)
    if opened.adapter is not None:
        full = with_base(opened.model, full)
    for golden in full:
        values = (value for row in (*golden.rows, *golden.base) for value in row.logprobs)
        if not all(map(math.isfinite, values)):
            raise SealError(
                f"{name} computes values that are not finite (golden prompt {golden.name})",
                remedy="its weights are damaged, or too large for this number format",
            )
    return Seal(
        name=name,
        dtype=str(opened.model.dtype).removeprefix("torch."),
        prompts=full,
        digests={},
        axes=axes_of(opened.spec, opened.text),
        stored=opened.stored,
        stop=stop,
        made_by={
            "puna": version("puna"),
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
    )


def put_seal(seal: Seal, folder: Path, *, stored: str) -> None:
    """Write a seal into a folder, with the digests of what is there and the format it is in.

    Raises:
        StorageError: the disk did not take it.
    """
    digests = digests_of(folder, weights=True)
    write_seal(folder, replace(seal, digests=digests, stored=stored))


def _check_begin(prompts: tuple[Golden, ...], bos: int | None) -> None:
    for golden in prompts:
        if bos is not None and golden.ids[:2] == (bos, bos):
            raise SealError(
                f"the golden prompt {golden.name!r} begins with the beginning-of-sequence token "
                f"{bos} twice, which no model was trained on",
                remedy="let the template or the tokenizer write it, not both",
            )
