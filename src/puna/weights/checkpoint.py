"""A folder of weights, opened but not read: which tensors there are, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from puna.errors import SourceError, WeightsError
from puna.formats import UNPACK, Gguf, find_archive, is_gguf, read_gguf, read_header, read_index
from puna.weights.entry import Entry, keep
from puna.weights.ggml import GgufWeights
from puna.weights.mxfp4 import SUFFIXES
from puna.weights.packed import stems
from puna.weights.pickled import is_archive, read_pickle
from puna.weights.read import DTYPES, NAMES, MappedFile, release

_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Files of a checkpoint with the names of their tensors; `dtypes` counts bytes per dtype.

    Weights in blocks (GGUF, MXFP4) count as bfloat16, which `dtype="auto"` unpacks them to. Weights
    that Puna packed do not count there: `packed` has their names, each with its tensors, and
    `size` counts the bytes of all weights.
    """

    files: tuple[Path, ...]
    names: frozenset[str]
    dtypes: Mapping[torch.dtype, int]
    size: int
    packed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    blocks: GgufWeights | None = None

    def entries(
        self, dtype: torch.dtype = torch.float32, *, lazily: bool = False
    ) -> Iterator[Entry]:
        """Yield every tensor, file by file, so that only one is in flight.

        Numbers in blocks are unpacked to `dtype`, or not at all where that is to happen `lazily`;
        others come as the file has them.
        """
        if self.blocks is not None:
            yield from self.blocks.entries(dtype, lazily=lazily)
            return
        for file in self.files:
            yield from _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open the weights of a folder: safetensors before `.bin`, one file before shards.

    One file of weights may be given in place of the folder.

    Raises:
        SourceError: no weights, or a shard that is missing.
        FormatError: files that are not what they claim to be.
        WeightsError: an index that disagrees with its shards.
    """
    if is_gguf(folder):
        return open_gguf(read_gguf(folder))
    if folder.is_file():
        return _open((folder,), None)
    for single, index in zip(_SINGLE, _INDEX, strict=True):
        if (folder / single).is_file():
            return _open((folder / single,), None)
        if (folder / index).is_file():
            shards = read_index(folder / index)
            return _open(tuple(sorted(set(shards.values()))), shards)
    if packed := find_archive(folder):
        raise SourceError(
            f"the folder holds no weights, but the archive {packed.name!r:.120}",
            where=str(packed),
            remedy=UNPACK,
        )
    raise SourceError(
        "the folder holds no weights",
        where=str(folder),
        remedy=f"put {_SINGLE[0]}, {_INDEX[0]} with its shards, or {_SINGLE[1]} there",
    )


def open_gguf(found: Gguf) -> Checkpoint:
    """Open the weights of a GGUF file whose header was read."""
    weights = GgufWeights(found)
    names: set[str] = set()
    sizes: Counter[torch.dtype] = Counter()
    for name, dtype, size in weights.listing():
        if name in names:
            raise WeightsError(f"tensor {name!r:.120} stands twice", where=str(found.files[0]))
        names.add(name)
        if dtype.is_floating_point:
            sizes[dtype] += size
    return Checkpoint(found.files, frozenset(names), sizes, sum(sizes.values()), blocks=weights)


def checkpoint_dtype(checkpoint: Checkpoint) -> str:
    """Return the floating dtype that most bytes have: float32, bfloat16 or float16."""
    halves = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    if not checkpoint.dtypes:
        return "float32"
    return halves.get(max(checkpoint.dtypes, key=lambda d: checkpoint.dtypes[d]), "float32")


def _open(files: tuple[Path, ...], index: Mapping[str, Path] | None) -> Checkpoint:
    found: dict[str, Path] = {}
    listed: dict[str, tuple[torch.dtype | None, int]] = {}
    for file in files:
        for name, dtype, size in _listing(file):
            if name in found:
                raise WeightsError(f"tensor {name!r:.120} stands in two shards", where=str(file))
            found[name] = file
            listed[name] = dtype, size
    if index is not None and index != found:
        odd = sorted(set(index.items()) ^ set(found.items()))[0]
        raise WeightsError(
            f"index and shards disagree about tensor {odd[0]!r:.120}",
            where=str(odd[1]),
            remedy="download index and shards again, of one revision",
        )
    packed = stems(found)
    parts = frozenset[str]().union(*packed.values())
    sizes = _sizes({name: kind for name, kind in listed.items() if name not in parts})
    size = sum(sizes.values()) + sum(listed[name][1] for name in parts)
    return Checkpoint(files, frozenset(found), sizes, size, packed)


def _sizes(listed: Mapping[str, tuple[torch.dtype | None, int]]) -> Counter[torch.dtype]:
    """Return the bytes of each floating dtype."""
    sizes: Counter[torch.dtype] = Counter()
    for name, (dtype, size) in listed.items():
        if dtype is torch.uint8 and name.endswith(SUFFIXES):
            dtype = torch.bfloat16
        if dtype is not None and dtype.is_floating_point:
            sizes[dtype] += size
    return sizes


def _listing(file: Path) -> Iterator[tuple[str, torch.dtype | None, int]]:
    if file.suffix == ".safetensors":
        for name, ref in read_header(file).items():
            yield name, DTYPES.get(ref.dtype), ref.span[1] - ref.span[0]
    else:
        for name, tensor in read_pickle(file).items():
            yield name, tensor.dtype, tensor.nbytes


def _safetensors(file: Path) -> Iterator[Entry]:
    refs = read_header(file)
    if not refs:
        return
    mapped = MappedFile(file)
    for name, ref in sorted(refs.items(), key=lambda item: item[1].span):
        tensor = mapped.tensor(ref)
        yield Entry(name, file, tensor.nbytes, tensor, partial(release, tensor))


def _pickled(file: Path) -> Iterator[Entry]:
    tensors = read_pickle(file)
    mapped = is_archive(file)
    for name in list(tensors):
        tensor = tensors.pop(name)
        if tensor.dtype not in NAMES:
            raise WeightsError(f"tensor {name!r:.120} has dtype {tensor.dtype}", where=str(file))
        let_go = partial(release, tensor) if mapped else keep
        yield Entry(name, file, tensor.nbytes, tensor, let_go)
