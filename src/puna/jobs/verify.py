"""A model held against its seal, or against another model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from puna.errors import SealError, SourceError, UsageError
from puna.loading import DType, Parts, Quant, load_parts
from puna.plan.check import serving
from puna.seal import (
    SEAL_KEY,
    Check,
    Seal,
    Verification,
    check_digests,
    compare,
    digests_of,
    digests_of_gguf,
    put_seal,
    seal_of,
    verify,
)
from puna.source import read_json, resolve

Progress = Callable[[int, int], None]


def verify_model(
    model: str | Path,
    *,
    adapter: str | Path | None = None,
    against: str | Path | None = None,
    dtype: DType = "auto",
    quant: Quant = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    template: str | Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Open a model although it may have changed, and say how far it is from what was sealed.

    Args:
        model: what to look at; an adapter's folder is looked at with the base that it names.
        adapter: that is to be used with it; it has a seal of its own.
        against: another model, opened first: whatever it does now, this one should do.
        dtype, quant, device, ignore_keys, template: as `load_parts`.
        progress: called with (bytes done, bytes in all) of the weights.

    Raises:
        SealError: there is no seal.
        PunaError: as `load_parts`.
    """
    other = None if against is None else _seal_now(against, device, ignore_keys, progress)
    parts = _open(
        model,
        adapter,
        dtype=dtype,
        quant=quant,
        device=device,
        ignore_keys=ignore_keys,
        template=template,
        progress=progress,
    )
    name = str(model if adapter is None else adapter)
    if other is not None:
        return compare(parts, other, name=name, chats=template is None)
    if parts.seals.model is None and parts.seals.adapter is None:
        raise SealError(
            f"{name} has no seal",
            where=str(parts.source.path),
            remedy="hold it against another model with --against, or seal it as it is with "
            "--record; what Puna saves is sealed",
        )
    found = verify(parts, parts.seals, name=name)
    return Verification(name, (*_files(parts), *found.checks))


def record_seal(
    model: str | Path,
    *,
    adapter: str | Path | None = None,
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Seal the folder of a model, or of the adapter, as it is now, and return the folder.

    How surely answers end is left out: it was measured on what was there before.

    Raises:
        UsageError: no folder of the user's own.
        SealError: the model cannot be sealed.
        StorageError: the disk did not take it.
    """
    parts = _open(model, adapter, device=device, ignore_keys=ignore_keys, progress=progress)
    folder = parts.tuned or parts.source.path
    if parts.tuned is None and parts.source.kind != "folder":
        raise UsageError(
            f"{parts.source.name} is a {parts.source.kind} model, which is not changed",
            remedy="save it as a folder of your own: puna export MODEL --format safetensors",
        )
    put_seal(seal_of(parts, name=parts.source.name), folder, stored=parts.stored)
    return folder


def _open(
    model: str | Path,
    adapter: str | Path | None,
    *,
    dtype: DType = "auto",
    quant: Quant = "auto",
    device: str,
    ignore_keys: Iterable[str],
    template: str | Path | None = None,
    progress: Progress | None,
) -> Parts:
    """Open a model although it may not be as it was sealed; an adapter alone, with its base."""
    if adapter is None and _is_adapter(model):
        model, adapter = _base_of(model), model
    return load_parts(
        model,
        adapter=adapter,
        dtype=dtype,
        quant=quant,
        device=device,
        ignore_keys=(*ignore_keys, SEAL_KEY),
        template=template,
        before=serving(),
        progress=progress,
    )


def _is_adapter(model: str | Path) -> bool:
    folder = Path(model).expanduser()
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _base_of(adapter: str | Path) -> str:
    config = read_json(Path(adapter).expanduser() / "adapter_config.json", what="adapter config")
    base = config.get("base_model_name_or_path")
    try:
        if not isinstance(base, str):
            raise SourceError("the adapter names no base")
        resolve(base)
    except SourceError as error:
        raise UsageError(
            f"{str(adapter)!r:.120} is an adapter, and its base {base!r:.120} is not found",
            remedy=f"name the base: puna verify BASE --adapter {adapter}",
        ) from error
    return base


def _seal_now(
    model: str | Path, device: str, ignore_keys: Iterable[str], progress: Progress | None
) -> Seal:
    parts = _open(model, None, device=device, ignore_keys=ignore_keys, progress=progress)
    return replace(seal_of(parts, name=parts.source.name), stored=parts.stored)


def _files(parts: Parts) -> list[Check]:
    """Return whether the files of model and adapter are as sealed, weights among them."""
    checks = []
    if (seal := parts.seals.model) is not None and parts.gguf is not None:
        now = digests_of_gguf(parts.gguf.metadata)
        checks.append(check_digests("vocabulary", seal.digests, now))
    elif seal is not None:
        now = digests_of(parts.source.path, weights=True)
        checks.append(check_digests("files", seal.digests, now))
    if (seal := parts.seals.adapter) is not None and parts.tuned is not None:
        now = digests_of(parts.tuned, weights=True)
        checks.append(check_digests("adapter's files", seal.digests, now))
    return checks
