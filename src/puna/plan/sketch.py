"""A model from its headers and config alone: on this disk, on a hub, or by dimensions known here.

What `auto` opens weights in follows the rule of `puna.weights.checkpoint_dtype` without torch; a
test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from puna.errors import SourceError
from puna.families import read_config
from puna.families.gguf.rope import TABLES
from puna.formats import GGML_TYPES, Gguf, Packing, count_types, read_header, read_index
from puna.plan.known import known_config
from puna.plan.record import Sketch
from puna.reading import Description, describe
from puna.source import Source, find_entry, outline, resolve
from puna.source.names import parse_hub_name
from puna.spec import ModelSpec, count_parameters

Form = Literal["safetensors", "bin"]
_FORMS: tuple[tuple[Form, str, str], ...] = (
    ("safetensors", "model.safetensors", "model.safetensors.index.json"),
    ("bin", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_OPENS = {"F32": "float32", "F64": "float32", "BF16": "bfloat16", "F16": "float16"}
_STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
# Bytes of a value as `auto` counts it: numbers in blocks are unpacked to bfloat16.
_WIDTHS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
_WHOLE = {"I8", "I16", "I32", "I64"}

OnFile = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A sketch, and where it is from.

    Attributes:
        sketch: the model.
        place: `disk`, `hub` (its headers were read just now), or `known` (dimensions of this
            package).
        download: bytes that a pull would bring.
        fetched: bytes of files that were read from the hub.
        notes: what the user should know.
    """

    sketch: Sketch
    place: Literal["disk", "hub", "known"]
    download: int = 0
    fetched: int = 0
    notes: tuple[str, ...] = ()


def sketch(model: str | Path, *, ignore_keys: Iterable[str] = ()) -> Sketch:
    """Return the sketch of a model on this disk.

    Raises:
        PunaError: as `look_up`.
    """
    return sketch_of(describe(resolve(model), ignore_keys=ignore_keys))


def look_up(
    model: str | Path,
    *,
    pull_headers: bool = True,
    ignore_keys: Iterable[str] = (),
    on_file: OnFile | None = None,
) -> Found:
    """Find a model on this disk, else on the hub, else among those whose dimensions are known.

    Args:
        model: what a user calls it, as for `puna.source.resolve`.
        pull_headers: whether a hub may be asked for config and headers; weights are never read.
        ignore_keys: config keys to pass over although they are unknown.
        on_file: called as headers arrive, with files done, files in all, and a name.

    Raises:
        SourceError: it is in none of these places, or there is no connection.
        FormatError, ConfigError: files that cannot be read exactly.
    """
    ignored = tuple(ignore_keys)
    try:
        return Found(sketch(model, ignore_keys=ignored), "disk")
    except SourceError as error:
        name, known = str(model), known_config(str(model))
        far = parse_hub_name(name) is not None or find_entry(name) is not None
        if not far or not (pull_headers or known):
            raise
        absent = error
    if pull_headers:
        try:
            return _far(name, ignored, on_file)
        except SourceError as error:
            if known is None:
                raise
            absent = error
    assert known is not None
    return _from_known(name, *known, absent)


def sketch_of(opened: Description) -> Sketch:
    """Return the sketch of a model whose config and GGUF header were read.

    Raises:
        SourceError, FormatError: weights that are not there, or headers that are none.
    """
    source, spec, gguf = opened.source, opened.spec, opened.gguf
    if gguf is not None:
        size = sum(path.stat().st_size for path in gguf.files)
        return Sketch(source.name, spec, size, "gguf", count_types(gguf), _gguf_dtype(gguf))
    if opened.packing is not None:
        return _packed(opened, opened.packing)
    form, files = _weights(source)
    size = sum(path.stat().st_size for path in files)
    if form == "bin":
        dtype = _bin_dtype(size, spec, opened.config)
        return Sketch(source.name, spec, size, form, _all(spec, dtype), dtype)
    if not files:
        return Sketch(source.name, spec, 0, form, {}, _stated(opened.config))
    stored, opens = _safetensors(files)
    return Sketch(source.name, spec, size, "safetensors", stored, opens)


def _packed(opened: Description, packing: Packing) -> Sketch:
    """Return the sketch of a folder that Puna packed: its config says what, its files how much."""
    form, files = _weights(opened.source)
    size = sum(path.stat().st_size for path in files)
    values = count_parameters(opened.spec)
    stored = {packing.format: values}
    return Sketch(opened.source.name, opened.spec, size, form, stored, packing.dtype, packing)


def _far(model: str, ignored: tuple[str, ...], on_file: OnFile | None) -> Found:
    with outline(model, tables=TABLES, on_file=on_file) as seen:
        found = sketch_of(describe(seen.source, ignore_keys=ignored))
        return Found(found, "hub", seen.total, seen.fetched, _remarks(found))


def _from_known(model: str, name: str, config: Mapping[str, Any], absent: SourceError) -> Found:
    spec, dtype = read_config(config), _stated(config)
    # Published in 16 bits, each of them.
    found = Sketch(model, spec, 2 * count_parameters(spec), "safetensors", {}, dtype)
    entry = find_entry(model)
    of = "" if entry is not None and entry.name == name else f" of {name}, which it was made from"
    note = f"dimensions{of} from Puna's own list: {absent.what}; the size of its files is reckoned"
    return Found(found, "known", found.files, notes=(note,))


def _remarks(found: Sketch) -> tuple[str, ...]:
    odd = sorted(kind for kind in found.stored if kind.startswith("F8"))
    if not odd:
        return ()
    return (f"stored in {', '.join(odd)}, which Puna does not open yet; counted in {found.dtype}",)


def _weights(source: Source) -> tuple[Form, tuple[Path, ...]]:
    """Return the form of a folder's weights and their files; none where only a config is there."""
    if source.weights is not None:
        return ("bin" if source.weights.suffix == ".bin" else "safetensors"), (source.weights,)
    for form, single, index in _FORMS:
        if (source.path / single).is_file():
            return form, (source.path / single,)
        if (source.path / index).is_file():
            return form, tuple(sorted(set(read_index(source.path / index).values())))
    return "safetensors", ()


def _safetensors(files: Iterable[Path]) -> tuple[dict[str, int], str]:
    """Return values by stored format, and the dtype that most bytes are opened in."""
    stored: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in files:
        for name, ref in read_header(file).items():
            size = ref.span[1] - ref.span[0]
            if ref.dtype == "U8" and name.endswith(("_blocks", "_scales")):
                stored["MXFP4"] += 2 * size if name.endswith("_blocks") else 0
                sizes["BF16"] += size
                continue
            stored[ref.dtype] += prod(ref.shape)
            if ref.dtype in _OPENS:
                sizes[ref.dtype] += size
    return dict(stored.most_common()), _most(sizes)


def _gguf_dtype(found: Gguf) -> str:
    """Return the dtype that most bytes have once blocks are unpacked."""
    sizes: Counter[str] = Counter()
    for ref in found.tensors.values():
        if ref.dtype in _WHOLE:
            continue
        kind = "BF16" if GGML_TYPES[ref.dtype].values > 1 else ref.dtype
        sizes[kind] += prod(ref.shape) * _WIDTHS[kind]
    return _most(sizes)


def _most(sizes: Mapping[str, int]) -> str:
    return _OPENS[max(sizes, key=lambda kind: sizes[kind])] if sizes else "float32"


def _bin_dtype(size: int, spec: ModelSpec, config: Mapping[str, Any]) -> str:
    """Return what a pickle's values are: their width by its size, for it is not opened here."""
    stated = _stated(config)
    if size >= 3 * count_parameters(spec):
        return "float32"
    return stated if stated != "float32" else "float16"


def _stated(config: Mapping[str, Any]) -> str:
    """Return the dtype that a config states, its text part included; float32 where it is silent."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        for key in ("dtype", "torch_dtype"):
            if isinstance(named := part.get(key), str) and named in _STORED:
                return named
    return "float32"


def _all(spec: ModelSpec, dtype: str) -> dict[str, int]:
    return {_STORED[dtype]: count_parameters(spec)}
