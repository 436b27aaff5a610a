"""An adapter merged into its base, as a folder that any tool opens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from puna.errors import StorageError, UsageError
from puna.formats import write_atomic
from puna.generate import LanguageModel
from puna.loading import DType, load_parts
from puna.plan.check import holding
from puna.source import find_license

_KEPT = ("LICEN[SC]E*", "NOTICE*", "USE_POLICY*")


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged model: its folder, bytes, base, and what the user should know."""

    folder: Path
    size: int
    base: str
    notes: tuple[str, ...]


def merge_adapter(
    model: str | Path,
    adapter: str | Path,
    out: Path,
    *,
    dtype: DType = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    pull: bool = False,
    on_pull: Callable[[int, int, str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Open a model with an adapter, merge, and save weights, config, tokenizer and template.

    The base's license files are copied beside them, and a model card says what the model was made
    from.

    Raises:
        UsageError: `out` holds something.
        PunaError: as `load_parts`.
        StorageError: the disk did not take it.
        SealError: the merged model does not do what base and adapter do.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", remedy="choose a new folder")
    parts = load_parts(
        model,
        adapter=adapter,
        dtype=dtype,
        quant="none",  # the sum of a packed weight and an update is not packed
        device=device,
        ignore_keys=ignore_keys,
        pull=pull,
        on_pull=on_pull,
        before=holding(),
        progress=progress,
    )
    drift = LanguageModel(parts).save(out)
    source = parts.source
    copy_terms(source.path, out)
    stated = source.license or find_license(source.path, parts.config)
    write_atomic(out / "README.md", _card(source.name, str(adapter), stated).encode())
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    return Merged(out, size, source.name, (*parts.notes, *drift))


def copy_terms(base: Path, out: Path) -> None:
    """Copy the license files of a base.

    Raises:
        StorageError: the disk did not take them.
    """
    if not base.is_dir():
        return
    try:
        for path in (found for pattern in _KEPT for found in base.glob(pattern)):
            if path.is_file():
                shutil.copyfile(path, out / path.name)
    except OSError as error:
        raise StorageError(f"cannot copy the license: {error.strerror}", where=str(out)) from error


def _card(base: str, adapter: str, stated: str | None) -> str:
    known = f"license: {stated}\n" if stated and "\n" not in stated else ""
    return (
        f"---\nbase_model: {base}\n{known}---\n\n# {Path(adapter).name} on {base}\n\n"
        f"The weights of {base} with the LoRA adapter {Path(adapter).name} merged in by Puna.\n"
        "What the license of the base asks for, it asks of this model too.\n"
    )
