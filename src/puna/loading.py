"""The joint that opens a model: source → spec → weights → model → adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from puna.adapter import read_adapter
from puna.errors import AdapterError, UsageError, WeightsError
from puna.families import NameTable, gguf_names, name_table
from puna.formats import PACKINGS, Gguf, Packing, choose_packing, count_types
from puna.model import Decoder, PackedWeight, build, choose_kernel
from puna.quant import Packed
from puna.reading import Description, describe, read_text
from puna.seal import (
    SEAL_KEY,
    Seal,
    Seals,
    axes_of,
    check_text,
    digests_of,
    digests_of_gguf,
    main_format,
    read_gguf_seal,
    read_seal,
)
from puna.source import (
    Source,
    compare_base,
    resolve,
    resolve_adapter,
    resolve_or_pull,
    verify_source,
)
from puna.spec import ModelSpec
from puna.text import TextParts
from puna.weights import (
    Checkpoint,
    Packer,
    checkpoint_dtype,
    load_into,
    open_checkpoint,
    open_gguf,
)

# Passed as a key to ignore, it lets an adapter onto another base than it names.
BASE_KEY = "base_model_name_or_path"
DType = Literal["auto", "float32", "bfloat16", "float16"]
Quant = Literal["auto", "none", "keep", "int8", "int4", "nf4"]


@dataclass(frozen=True, slots=True)
class Parts:
    """An opened model, piece by piece.

    `adapter` is the slot of the adapter it was opened with, `gguf` the header of the file where it
    is one; `stored` is the number format that its weights come from, such as `bfloat16`, or `Q4_0`,
    the coarsest of several, and `packing` the one that they are packed in now. `tuned` is the
    folder of the adapter, `ignored` the config keys that were passed over, `seals` are those of
    model and adapter; `notes` is what the user should know.
    """

    source: Source
    config: Mapping[str, Any]
    spec: ModelSpec
    table: NameTable
    model: Decoder
    text: TextParts
    adapter: int | None
    stored: str
    gguf: Gguf | None = None
    packing: Packing | None = None
    tuned: Path | None = None
    ignored: tuple[str, ...] = ()
    seals: Seals = field(default_factory=Seals)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model before a weight is read, and how it is about to be opened."""

    description: Description
    text: TextParts
    dtype: str
    device: str
    ignored: tuple[str, ...]
    quant: str = "auto"
    packing: Packing | None = None


def load_parts(
    model: str | Path | Source,
    *,
    adapter: str | Path | None = None,
    dtype: DType = "auto",
    quant: Quant = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    pull: bool = False,
    on_pull: Callable[[int, int, str], None] | None = None,
    on_check: Callable[[int, int], None] | None = None,
    template: str | Path | None = None,
    before: Callable[[Known], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """Open a model by whatever `puna.source.resolve` knows it by, weights included.

    Args:
        model: a folder, a GGUF file, the id of a pulled model, a built-in name such as `cria`, or
            where one was found.
        adapter: a folder in PEFT's layout, or the id of one that was pulled; its rows are used
            unless a request says otherwise.
        dtype: what weights and activations are kept in; `auto` is the checkpoint's own, and
            bfloat16 where most of its weights are quantized (GGUF).
        quant: what weights are packed in, see `puna.formats.choose_packing`; activations stay in
            the dtype.
        device: `auto` takes the first CUDA device if there is one.
        ignore_keys: config keys to pass over although they are unknown; `seal` passes over that
            the model is not as it was sealed.
        template: a published chat format by name, or a file, in place of the folder's.
        pull: whether to pull what is not on this disk.
        on_pull: called with (bytes done, bytes in all, file) of a pull.
        on_check: called with (bytes done, bytes in all) as digests are checked.
        before: called with what is known before a weight is read; it may refuse.
        progress: called with (bytes done, bytes in all) as weights are read.

    Raises:
        PunaError: the branch of the tree that says which part is at fault.
    """
    ignored = tuple(ignore_keys)
    source = _resolve(model, pull, on_pull)
    verify_source(source, on_check)
    if source.ollama is not None and source.ollama.adapters:
        raise AdapterError(
            f"{source.name} of Ollama's store has an adapter in GGUF, which is not read",
            where=str(source.ollama.adapters[0]),
            remedy="load its base, with the adapter as a LoRA folder in PEFT's layout",
        )
    opened = describe(source, ignore_keys=ignored)
    config, spec, gguf = opened.config, opened.spec, opened.gguf
    beside, notes = _find_adapter(adapter, source, ignored, pull)
    tuned = None if beside is None else beside.path
    weights = source.weights or source.path
    checkpoint = open_checkpoint(weights) if gguf is None else open_gguf(gguf)
    _check_packed(opened, checkpoint)
    kept = checkpoint_dtype(checkpoint) if opened.packing is None else opened.packing.dtype
    kind = _dtype(kept if dtype == "auto" else dtype)
    types = {} if gguf is None else count_types(gguf)
    packing = choose_packing(quant, _name(kind), own=opened.packing, types=types)
    place = _device(device)
    text = read_text(source, config, gguf, template=template, adapter=tuned)
    another = template is not None or (source.ollama is not None and source.ollama.template)
    seals = _seals(opened, text, tuned, own=not another, check=SEAL_KEY not in ignored)
    if before is not None:
        before(Known(opened, text, _name(kind), place, ignored, quant, packing))
    table = name_table(spec)
    decoder = build(spec, dtype=kind)
    names = table if gguf is None else gguf_names(spec)
    packer = None if packing is None else packer_of(decoder, packing, own=opened.packing)
    load_into(decoder, checkpoint, names, device=place, packer=packer, progress=progress)
    decoder.eval().requires_grad_(False)
    slot = None if tuned is None else read_adapter(tuned, decoder, table)
    stored = _stored(opened, packing, kept)
    return Parts(
        source, config, spec, table, decoder, text, slot, stored, gguf, packing, tuned, ignored,
        seals, notes,
    )  # fmt: skip


def _stored(opened: Description, packing: Packing | None, dtype: str) -> str:
    """Return the number format that the weights come from, as far as it is the coarsest."""
    if opened.packing is not None:
        return opened.packing.format
    if packing is not None and packing.format in PACKINGS:
        return packing.format
    return dtype if opened.gguf is None else main_format(count_types(opened.gguf))


def _check_packed(opened: Description, checkpoint: Checkpoint) -> None:
    """See that config and weights agree on whether these are packed."""
    if (opened.packing is None) != (not checkpoint.packed):
        says, holds = ("packed", "none") if opened.packing else ("not packed", "packed ones")
        raise WeightsError(
            f"config.json says that the weights are {says}, but the files hold {holds}",
            where=str(opened.source.path),
            remedy="use config and weights of one folder, as puna quantize wrote it",
        )


def packer_of(decoder: Decoder, packing: Packing, *, own: Packing | None = None) -> Packer:
    """Return how weights are packed: table and head in 8 bits at least, and what is, as it is.

    Args:
        decoder: as it was built.
        packing: what they are to be packed in.
        own: how they are packed already.
    """
    dtype = decoder.dtype
    tables = decoder.packable()
    anew = own is None and packing.format in PACKINGS

    def kind(name: str) -> str | None:
        if not anew:
            return None
        return "int8" if name in ("embed.tokens", "output.weight") else packing.format

    def hold(name: str, packed: Packed) -> PackedWeight:
        return PackedWeight(packed, dtype, choose_kernel(packed, dtype, table=tables[name]))

    return Packer({name: kind(name) for name in tables}, hold)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _resolve(
    model: str | Path | Source, pull: bool, on_pull: Callable[[int, int, str], None] | None
) -> Source:
    if isinstance(model, Source):
        return model
    return resolve_or_pull(model, on_bytes=on_pull) if pull else resolve(model)


def _find_adapter(
    adapter: str | Path | None, model: Source, ignored: tuple[str, ...], pull: bool
) -> tuple[Source | None, tuple[str, ...]]:
    """Return where an adapter is, its digests checked, and a remark if it names another base."""
    if adapter is None:
        return None, ()
    source = resolve_or_pull(adapter, "adapter") if pull else resolve_adapter(adapter)
    verify_source(source)
    remark = compare_base(source, model, insist=BASE_KEY not in ignored)
    return source, (remark,) if remark else ()


def _seals(
    opened: Description, text: TextParts, tuned: Path | None, *, own: bool, check: bool
) -> Seals:
    """Return the seals there are; `own` says whether the template is the one they are of."""
    adapter = None if tuned is None else _adapter_seal(tuned, check=check)
    return Seals(_model_seal(opened, text, check=check), adapter, own_template=own)


def _model_seal(opened: Description, text: TextParts, *, check: bool) -> Seal | None:
    """Return the seal of a model; what it says of text and architecture is held against it."""
    path, gguf = opened.source.path, opened.gguf
    seal = read_seal(path) if gguf is None else read_gguf_seal(gguf.metadata, str(path))
    if seal is not None and check:
        now = digests_of(path, weights=False) if gguf is None else digests_of_gguf(gguf.metadata)
        check_text(seal, now, str(path), axes_of(opened.spec, text))
    return seal


def _adapter_seal(folder: Path, *, check: bool) -> Seal | None:
    seal = read_seal(folder)
    if seal is not None and check:
        check_text(seal, digests_of(folder, weights=False), str(folder))
    return seal


def _dtype(name: str) -> torch.dtype:
    if name not in get_args(DType) or name == "auto":
        choices = ", ".join(get_args(DType))
        raise UsageError(f"unknown dtype {name!r}", remedy=f"choose one of {choices}")
    kind: torch.dtype = getattr(torch, name)
    return kind


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).item()  # "meta" holds no values, and fails here too
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here", remedy="use cpu") from error
    return name
