"""A model whose weights are packed in 8 or 4 bits, as a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from puna.errors import UsageError
from puna.formats import PACKINGS, Packing, write_atomic
from puna.jobs.calibrate import calibrate, own_text
from puna.jobs.merge import copy_terms
from puna.jobs.quality import Quality, compare_models, golden_sequences, read_sequences
from puna.loading import DType, Parts, load_parts, packer_of
from puna.plan.check import holding
from puna.plan.memory import available_memory
from puna.saving import save_parts, seal_parts
from puna.seal import SEAL_KEY
from puna.source import find_license
from puna.spec import count_parameters

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Files:
    """Texts: what to pack for, and what to measure on; None for neither, and for prompts.

    `calibrate` may be `self`: text that the model itself says.
    """

    calibrate: Path | Literal["self"] | None = None
    text: Path | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom to tell of progress: bytes loaded, layers packed, tokens measured."""

    load: Progress | None = None
    layers: Progress | None = None
    tokens: Progress | None = None


@dataclass(frozen=True, slots=True)
class Quantized:
    """What was written, and what it costs.

    Args:
        folder: of the model.
        format: of its weights.
        bits: per weight, of everything in the files.
        before, after: bytes of the weights.
        quality: against the model as it was.
        measured_on: the text, in words.
        notes: what the user should know.
    """

    folder: Path
    format: str
    bits: float
    before: int
    after: int
    quality: Quality
    measured_on: str
    notes: tuple[str, ...]


def quantize_model(
    model: str | Path,
    out: Path,
    format: str,
    *,
    files: Files | None = None,
    dtype: DType = "auto",
    ignore_keys: Iterable[str] = (),
    pull: bool = False,
    watch: Watch | None = None,
) -> Quantized:
    """Pack the weights of a model, save it, prove it, and measure what it lost.

    The folder carries the seal of the model that it was made of, and is held against it.

    Args:
        model: whatever `puna.load` takes.
        out: a new or empty folder.
        format: int8, int4 or nf4.
        files: with a file to calibrate on, each map is rounded for what that text feeds it.
        dtype: of the activations, and of what is not packed.
        ignore_keys: as of `load_parts`; `seal` writes a format that makes another model of it.
        pull: whether to pull what is not on this disk.
        watch: told of progress.

    Raises:
        UsageError: an unknown format, a model that is packed already, a folder that is not empty.
        FitError: both forms of the model do not fit in memory.
        SealError: the format is too coarse for this model; what was written has no seal.
        PunaError: as `load_parts` and `save_parts`.
    """
    files, watch, ignored = files or Files(), watch or Watch(), tuple(ignore_keys)
    if format not in PACKINGS:
        choices = ", ".join(PACKINGS)
        raise UsageError(f"unknown format {format!r:.40}", remedy=f"choose one of {choices}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", remedy="choose a new folder")
    whole = load_parts(
        model, dtype=dtype, ignore_keys=ignored, pull=pull, before=holding(), progress=watch.load
    )
    if whole.packing is not None:
        raise UsageError(
            f"{whole.source.name} is packed as {whole.packing.format} already",
            remedy="quantize the model that it was made of",
        )
    seal = seal_parts(whole)
    packed = _packed(whole, format, files.calibrate, watch)
    insist = SEAL_KEY not in ignored
    drift = save_parts(packed, out, seal=seal, insist=insist)
    copy_terms(whole.source.path, out)
    write_atomic(out / "README.md", _card(whole, format, files.calibrate).encode())
    sequences = golden_sequences(whole) if files.text is None else read_sequences(files.text, whole)
    quality = compare_models(whole.model, packed.model, sequences, progress=watch.tokens)
    before, after = _weights(whole.source.weights or whole.source.path), _weights(out)
    bits = 8 * after / count_parameters(whole.spec)
    on = "the golden prompts" if files.text is None else files.text.name
    return Quantized(out, format, bits, before, after, quality, on, (*whole.notes, *drift))


def _packed(whole: Parts, format: str, text: Path | Literal["self"] | None, watch: Watch) -> Parts:
    """Open the model once more, with its weights packed as they come, or for a text."""
    name = str(whole.model.dtype).removeprefix("torch.")
    how = {"dtype": name, "ignore_keys": whole.ignored, "progress": watch.load}
    check = holding(free=available_memory())
    if text is None:
        return load_parts(whole.source, quant=format, before=check, **how)  # type: ignore[arg-type]
    sequences: Sequence[Sequence[int]]
    sequences = own_text(whole) if text == "self" else read_sequences(text, whole)
    parts = load_parts(whole.source, before=check, **how)  # type: ignore[arg-type]
    packing = Packing(format, name)
    calibrate(parts.model, sequences, packer_of(parts.model, packing), progress=watch.layers)
    return replace(parts, packing=packing, stored=format)


def _weights(path: Path) -> int:
    """Return the bytes of the weights of a folder or file."""
    if path.is_file():
        return path.stat().st_size
    kinds = ("*.safetensors", "pytorch_model*.bin")
    return sum(file.stat().st_size for kind in kinds for file in path.glob(kind))


def _card(whole: Parts, format: str, text: Path | Literal["self"] | None) -> str:
    source = whole.source
    stated = source.license or find_license(source.path, whole.config)
    known = f"license: {stated}\n" if stated and "\n" not in stated else ""
    on = ""
    if text is not None:
        on = f", calibrated on {'text of its own' if text == 'self' else text.name}"
    return (
        f"---\nbase_model: {source.name}\n{known}---\n\n# {source.name} in {format}\n\n"
        f"The weights of {source.name}, packed as {format} by Puna{on}. Puna opens this folder; "
        "for other tools, write a GGUF file with `puna export`.\n"
        "What the license of the base asks for, it asks of this model too.\n"
    )
