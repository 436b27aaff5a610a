"""The joint that saves an opened model, and proves that what was saved does the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from puna.adapter import detach, read_adapter
from puna.errors import SealError
from puna.families import saved_form
from puna.loading import Parts, load_parts
from puna.seal import (
    FAULTS,
    SEAL_KEY,
    Seal,
    Seals,
    Stop,
    bits_of,
    break_seal,
    put_seal,
    seal_of,
    verify,
)
from puna.source import Source
from puna.text import save_specials, save_template, save_tokenizer
from puna.weights import save_folder


def save_parts(
    parts: Parts,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    seal: Seal | None = None,
    insist: bool = True,
) -> tuple[str, ...]:
    """Write a folder that this package and others load, open it, and hold it against the model.

    Args:
        parts: the opened model, its adapters merged.
        folder: made where it is not there; it holds weights, config, text files and a seal.
        dtype: what weights are written in; None leaves them as they are.
        seal: of the model before its adapters were merged; without one it is made now.
        insist: whether to raise where what was written differs.

    Returns in words how far the saved model drifts, if it does.

    Raises:
        StorageError: the disk did not take it; what was there before is still there.
        SealError: the folder that was written does not do what the model does; it has no seal.
    """
    seal = seal or seal_parts(parts)
    table, config = saved_form(parts.spec, parts.config)
    break_seal(folder)
    save_folder(parts.model, table, folder, config=config, packing=parts.packing, dtype=dtype)
    save_specials(parts.source.path, folder)
    if parts.text.tokenizer is not None:
        save_tokenizer(parts.text.tokenizer, folder)
    if parts.text.template is not None:
        save_template(parts.text.template, folder)
    stored, drift = prove(seal, Source(folder.name, folder), parts, insist=insist)
    put_seal(seal, folder, stored=stored)
    return drift


def seal_adapter(parts: Parts, folder: Path, slot: int, *, stop: Stop | None) -> tuple[str, ...]:
    """Read an adapter that was just written back, hold it against the live one, and seal it.

    Args:
        parts: the base with the adapter on it.
        folder: of the adapter.
        slot: of the live one.
        stop: how surely answers end with it.

    Returns in words what its user should know: that it does nothing, or never ends an answer.

    Raises:
        SealError: what was written is not the adapter that was trained; it has no seal.
    """
    seal = seal_of(replace(parts, adapter=slot), name=parts.source.name, stop=stop)
    again = read_adapter(folder, parts.model, parts.table)
    try:
        opened = replace(parts, adapter=again)
        found = verify(opened, Seals(adapter=seal), name=str(folder))
    finally:
        detach(parts.model, again)
    for check in found.checks:
        if check.verdict == "differs" and check.name not in FAULTS:
            raise SealError(f"the adapter was not written as it was trained; {check.said}")
    put_seal(seal, folder, stored=parts.stored)
    return tuple(f"{check.name}: {check.said}" for check in found.remarks)


def check_sealed(parts: Parts) -> None:
    """See that an opened model, and its adapter, do what they were sealed to do.

    Raises:
        SealError: they do not; not where that is among the keys to ignore.
    """
    if SEAL_KEY not in parts.ignored:
        verify(parts, parts.seals, name=parts.source.name).insist()


def seal_parts(parts: Parts) -> Seal:
    """Return the seal of an opened model as it is, with the adapter it was opened with.

    Raises:
        SealError: it is not what it was sealed to be, or cannot be sealed.
    """
    check_sealed(parts)
    tuned = parts.seals.model if parts.adapter is None else parts.seals.adapter
    stop = None if tuned is None else tuned.stop
    return seal_of(parts, name=parts.source.name, stop=stop)


def prove(
    seal: Seal, written: Source, parts: Parts, *, insist: bool = True
) -> tuple[str, tuple[str, ...]]:
    """Open what was written and hold it against a seal.

    Args:
        seal: of what was to be written.
        written: where it is.
        parts: the model it was written from, for the way to open it.
        insist: whether to raise where it differs; without it that is one of the remarks.

    Returns the number format it is in, and in words how far it drifts.

    Raises:
        SealError: it does something else.
    """
    device = str(parts.model.device)
    back = load_parts(written, device=device, ignore_keys=parts.ignored)
    kept = replace(seal, stop=None)  # what was tuned is not at fault for how it is kept
    found = verify(back, Seals(kept), name=written.name)
    if insist and found.verdict == "differs":
        raise SealError(
            f"{written.name} would not do what {seal.name} does; {found.first}",
            remedy=_remedy(back.stored),
        )
    return back.stored, tuple(f"{check.name}: {check.said}" for check in found.remarks)


def _remedy(stored: str) -> str:
    if bits_of((stored,)) >= 16:
        return "do not use it; report this, with the family of the model"
    return (
        f"{stored} is too coarse for this model: choose a finer type; "
        f"--ignore-key {SEAL_KEY} writes it all the same"
    )
