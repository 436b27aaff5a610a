"""Digests of what makes text into ids and back, and of weights; where a seal is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from puna.errors import FormatError, SealError, SourceError, StorageError
from puna.formats import write_atomic
from puna.seal.axes import differences
from puna.seal.record import Seal, from_json
from puna.source import read_json

FILE = "puna.seal.json"
# Where a GGUF file keeps it.
KEY = "puna.seal"
# Passed as a key to ignore, it opens a model that is not as it was sealed.
SEAL_KEY = "seal"
_TEXT = (
    "adapter_config.json", "tokenizer.json", "tokenizer.model", "*.tiktoken", "tiktoken.model",
    "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.*", "additional_chat_templates/*.jinja",
)  # fmt: skip
_ADAPTER = "adapter_config.json"
_CHUNK = 4 << 20
_WEIGHTS = (
    "model*.safetensors", "model*.safetensors.index.json", "adapter_model.safetensors",
    "pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_model.bin",
)  # fmt: skip
# Where an adapter's base lies may change, and says nothing of what it is.
_PLACE = "base_model_name_or_path"
_MOST_BYTES = 4 << 20


def digests_of(
    folder: Path, *, weights: bool, on_bytes: Callable[[int], None] | None = None
) -> dict[str, str]:
    """Return the SHA-256 by name of tokenizer, template, adapter's config and weights in a folder.

    What config.json says is held against the axes of the decoder, whatever way it is written.

    Args:
        folder: of a model or an adapter.
        weights: whether the weights are among them.
        on_bytes: called with the bytes of every piece read.

    Raises:
        SourceError: one that cannot be read.
    """
    patterns = (*_TEXT, *_WEIGHTS) if weights else _TEXT
    names = {path.relative_to(folder).as_posix() for p in patterns for path in folder.glob(p)}
    return {
        name: _adapter(folder) if name == _ADAPTER else _sha256(folder / name, on_bytes)
        for name in sorted(names)
        if (folder / name).is_file()
    }


def digests_of_gguf(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 by key of what a GGUF file says of text; scores are left out."""
    return {
        key: hashlib.sha256(json.dumps(value).encode()).hexdigest()
        for key, value in sorted(metadata.items())
        if key.startswith("tokenizer.") and not _has_floats(value)
    }


def _adapter(folder: Path) -> str:
    config = dict(read_json(folder / _ADAPTER, what="adapter config"))
    config.pop(_PLACE, None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path, on_bytes: Callable[[int], None] | None) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                if on_bytes:
                    on_bytes(len(chunk))
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    return digest.hexdigest()


def is_weights(name: str) -> bool:
    """Tell whether a sealed file holds weights, or says which file does."""
    return any(fnmatch(name, pattern) for pattern in _WEIGHTS)


def read_seal(folder: Path) -> Seal | None:
    """Return the seal of a folder, or None without one.

    Raises:
        FormatError: a file of that name that is no seal.
    """
    path = folder / FILE
    if not path.exists():
        return None
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise FormatError(f"{FILE} is no file of at most {_MOST_BYTES} bytes", where=str(path))
    return from_json(read_json(path, what="seal"), str(path))


def read_gguf_seal(metadata: Mapping[str, Any], where: str) -> Seal | None:
    """Return the seal in the metadata of a GGUF file, or None without one.

    Raises:
        FormatError: a value that is no seal.
    """
    value = metadata.get(KEY)
    if value is None:
        return None
    try:
        if len(value) > _MOST_BYTES:
            raise ValueError(f"it has {len(value)} characters")
        return from_json(json.loads(value), f"{where}, {KEY}")
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the seal is not JSON: {error}", where=f"{where}, {KEY}") from error


def write_seal(folder: Path, seal: Seal) -> None:
    """Write the seal of a folder.

    Raises:
        StorageError: the disk did not take it.
    """
    write_atomic(folder / FILE, (json.dumps(seal.to_json(), ensure_ascii=False) + "\n").encode())


def break_seal(folder: Path) -> None:
    """Remove the seal of a folder that is about to change, so that none is ever of something else.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot remove the old seal: {error.strerror}", where=str(folder / FILE)
        ) from error


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return, in words, which names have another digest, are gone, or are new."""
    words = []
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            how = "is new" if name not in then else "is gone" if name not in now else "changed"
            words.append(f"{name} {how}")
    return words


def check_text(
    seal: Seal, now: Mapping[str, str], where: str, axes: Mapping[str, Any] | None = None
) -> None:
    """Hold what a model says of text and shape against its seal; weights are not read.

    Args:
        seal: of the model.
        now: its digests, without weights.
        where: it is.
        axes: of the decoder, where they are to be those that were sealed.

    Raises:
        SealError: something changed; names it.
    """
    then = {name: digest for name, digest in seal.digests.items() if not is_weights(name)}
    found = changes(then, now)
    if axes is not None:
        found += differences(seal.axes, axes)
    if found:
        raise SealError(
            f"this is not the model that was sealed: {', '.join(found[:4])}"
            + (f" and {len(found) - 4} more" if len(found) > 4 else ""),
            where=where,
            remedy=f"get it again; or, if the change is yours, seal it anew with puna verify "
            f"--record; --ignore-key {SEAL_KEY} opens it as it is",
        )


def _has_floats(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, float)
