"""Ollama's model store: manifests that name blobs by digest (read only).

    STORE/manifests/HOST/NAMESPACE/MODEL/TAG     a JSON manifest: one layer per part of the model
    STORE/blobs/sha256-DIGEST                    the parts: GGUF, template, parameters, license …

The layout follows Ollama's `manifest` and `types/model` packages. What a manifest says and this
reader does not know is refused by name: a part that is passed over may change what a model says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from puna.errors import FormatError, PunaError, SourceError
from puna.home import ollama_stores
from puna.source.read import read_json
from puna.source.record import Source

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_PART = re.compile(r"[A-Za-z0-9_][\w.-]{0,79}", re.ASCII)
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_TYPE = "application/vnd.ollama.image."
_TEXT_BYTES = 16 << 20
# Parts that say nothing of what the model answers: vision towers, speculation, old embeddings.
_PASSED_OVER = {"projector", "draft", "embed"}
_KNOWN = {
    "model", "template", "prompt", "system", "params", "adapter", "license", "messages",
} | _PASSED_OVER  # fmt: skip


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """What a model of the store is made of, beside its weights.

    Attributes:
        template: the prompt template, in Go's template language; None where the GGUF has its own.
        system: the system message, or None.
        params: parameters as stored: `stop` (a list), `temperature`, `num_ctx`, …
        messages: messages that stand before every conversation.
        licenses: their texts.
        adapters: GGUF files of LoRA adapters that belong to the model.
        family: as Ollama calls the architecture.
        quant: as Ollama calls the quantization, such as `Q4_K_M`.
        renderer: where not empty, Ollama writes prompts by code of that name, not by `template`.
        parser: where not empty, Ollama reads answers by code of that name.
    """

    template: str | None = None
    system: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()
    licenses: tuple[str, ...] = ()
    adapters: tuple[Path, ...] = ()
    family: str = ""
    quant: str = ""
    renderer: str = ""
    parser: str = ""


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    digest: str
    path: Path


def find_ollama(name: str) -> Source | None:
    """Return the source of a name of the store, or None where it holds none.

    Raises:
        FormatError, SourceError: as `read_ollama`, where the store holds the name.
    """
    parts = _split(name)
    if parts is None or not any(_manifest(store, parts).is_file() for store in ollama_stores()):
        return None
    return read_ollama(name)


def read_ollama(name: str) -> Source:
    """Return the source of `NAME[:TAG]`, `NAMESPACE/NAME[:TAG]` or `HOST/NAMESPACE/NAME[:TAG]`.

    Raises:
        SourceError: no such name, or a part of it is missing.
        FormatError: a manifest that is broken, or written by a newer version of Ollama.
    """
    parts = _split(name)
    if parts is None:
        raise SourceError(f"{name!r:.120} is not a name of Ollama's store")
    store = next((s for s in ollama_stores() if _manifest(s, parts).is_file()), None)
    if store is None:
        known = [found for found, _ in ollama_names()]
        raise SourceError(
            f"Ollama's store holds no {name!r:.120}",
            where=str(ollama_stores()[0]),
            remedy=f"one of {', '.join(known[:6])}" if known else f"ollama pull {name}",
        )
    path = _manifest(store, parts)
    layers, config = _read_manifest(path, store)
    return _source(_short(parts), layers, config, store, path)


def ollama_names() -> Iterator[tuple[str, Path]]:
    """Yield the short name and the manifest of every model in the store."""
    for store in ollama_stores():
        for path in sorted((store / "manifests").glob("*/*/*/*")):
            parts = path.parts[-4:]
            if path.is_file() and all(_is_part(part) for part in parts):
                yield _short((parts[0], parts[1], parts[2], parts[3])), path


def ollama_bytes(manifest: Path) -> int:
    """Return the bytes of all parts that a manifest names; 0 where it cannot be read."""
    try:
        layers, _ = _read_manifest(manifest, manifest.parents[4])
        return sum(layer.path.stat().st_size for layer in layers)
    except (PunaError, OSError):
        return 0


def _split(name: str) -> tuple[str, str, str, str] | None:
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, _TAG
    parts = head.split("/")
    if not 1 <= len(parts) <= 3:
        return None
    host, namespace, model = [_HOST, _NAMESPACE, ""][: 3 - len(parts)] + parts
    full = (host, namespace, model, tag)
    return full if all(_is_part(part) for part in full) else None


def _is_part(text: str) -> bool:
    return _PART.fullmatch(text) is not None and ".." not in text


def _short(parts: tuple[str, str, str, str]) -> str:
    host, namespace, model, tag = parts
    if host != _HOST:
        return f"{host}/{namespace}/{model}:{tag}"
    return f"{model}:{tag}" if namespace == _NAMESPACE else f"{namespace}/{model}:{tag}"


def _manifest(store: Path, parts: tuple[str, str, str, str]) -> Path:
    return store.joinpath("manifests", *parts)


def _read_manifest(path: Path, store: Path) -> tuple[list[_Layer], dict[str, Any]]:
    value = read_json(path, what="manifest")
    version, kind = value.get("schemaVersion"), value.get("mediaType")
    if version != 2 or not str(kind).startswith("application/vnd.docker.distribution.manifest.v2"):
        raise _newer(f"schemaVersion {version!r:.20}, mediaType {kind!r:.80}", path)
    listed, config = value.get("layers"), value.get("config")
    if not isinstance(listed, list) or not isinstance(config, dict):
        raise FormatError("the manifest has no layers or no config", where=str(path))
    layers = [_layer(entry, path, store) for entry in listed]
    blob = _layer({**config, "mediaType": f"{_TYPE}config"}, path, store)
    return layers, read_json(blob.path, what="config of the model")


def _layer(entry: Any, path: Path, store: Path) -> _Layer:
    if not isinstance(entry, dict):
        raise FormatError("a layer of the manifest is no object", where=str(path))
    media, digest, size = (entry.get(key) for key in ("mediaType", "digest", "size"))
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None or type(size) is not int:
        raise FormatError(
            f"a layer of the manifest has the digest {digest!r:.80} and size {size!r:.30}",
            where=str(path),
        )
    names = (f"sha256-{found[1]}", f"sha256:{found[1]}")  # the second is of old versions
    blob = next((b for b in (store / "blobs" / n for n in names) if b.is_file()), None)
    if blob is None or blob.stat().st_size != size:
        raise SourceError(
            f"a part of the model is missing or cut short: {names[0][:23]}…",
            where=str(path),
            remedy="pull the model again with ollama",
        )
    kind = str(media).removeprefix(_TYPE)
    return _Layer(kind if str(media).startswith(_TYPE) else str(media), found[1], blob)


def _source(
    name: str, layers: list[_Layer], config: Mapping[str, Any], store: Path, path: Path
) -> Source:
    if host := config.get("remote_host"):
        raise SourceError(f"{name} is a model that runs at {host}; no weights are here")
    kinds = [layer.kind for layer in layers]
    form = "single tensors" if "tensor" in kinds else config.get("model_format") or "gguf"
    if form != "gguf":
        raise SourceError(
            f"{name} is stored as {form!r:.40}, not as GGUF",
            where=str(path),
            remedy="pull the model from a hub instead: puna pull ORG/NAME",
        )
    if odd := [kind for kind in kinds if kind not in _KNOWN]:
        raise _newer(f"a layer of type {odd[0]!r:.80}", path)
    models = [layer for layer in layers if layer.kind == "model"]
    if len(models) != 1:
        raise FormatError(f"the manifest names {len(models)} models, not one", where=str(path))
    used = [layer for layer in layers if layer.kind not in _PASSED_OVER]
    record = _record(layers, config)
    return Source(
        name,
        models[0].path,
        files={layer.path.relative_to(store).as_posix(): layer.digest for layer in used},
        license=_first_line(record.licenses),
        kind="ollama",
        base=store,
        ollama=record,
    )


def _record(layers: list[_Layer], config: Mapping[str, Any]) -> OllamaModel:
    texts = {kind: [_text(layer) for layer in layers if layer.kind == kind] for kind in
             ("template", "prompt", "system", "license")}  # fmt: skip
    template = [*texts["prompt"], *texts["template"]]
    params = [
        read_json(layer.path, what="parameters") for layer in layers if layer.kind == "params"
    ]
    return OllamaModel(
        template=template[-1] if template else None,
        system=texts["system"][-1] if texts["system"] else None,
        params=params[-1] if params else {},
        messages=tuple(m for layer in layers if layer.kind == "messages" for m in _messages(layer)),
        licenses=tuple(texts["license"]),
        adapters=tuple(layer.path for layer in layers if layer.kind == "adapter"),
        family=str(config.get("model_family") or ""),
        quant=str(config.get("file_type") or ""),
        renderer=str(config.get("renderer") or ""),
        parser=str(config.get("parser") or ""),
    )


def _messages(layer: _Layer) -> list[Mapping[str, Any]]:
    try:
        value = json.loads(_text(layer))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the messages are not JSON: {error}", where=str(layer.path)) from error
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise FormatError("the messages are no list of objects", where=str(layer.path))
    return value


def _text(layer: _Layer) -> str:
    try:
        if layer.path.stat().st_size > _TEXT_BYTES:
            raise FormatError(f"the {layer.kind} is too large to be text", where=str(layer.path))
        return layer.path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SourceError(
            f"cannot read the {layer.kind}: {error.strerror}", where=str(layer.path)
        ) from error
    except UnicodeDecodeError as error:
        raise FormatError(f"the {layer.kind} is not UTF-8", where=str(layer.path)) from error


def _first_line(licenses: tuple[str, ...]) -> str | None:
    """Return how the first license calls itself; a short first line is half a name."""
    lines = [line.strip() for text in licenses[:1] for line in text.splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines and len(lines[0]) < 25 else 1])[:100] or None


def _newer(what: str, path: Path) -> FormatError:
    return FormatError(
        f"the manifest has {what}, which this version does not know: "
        "it was written by a newer version of Ollama",
        where=str(path),
        remedy="update puna, or pull the model from a hub: puna pull ORG/NAME",
    )
