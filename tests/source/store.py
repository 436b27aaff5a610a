"""An Ollama store as its tool writes it, made of given parts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

TYPE = "application/vnd.ollama.image."


def blob(store: Path, data: bytes, kind: str) -> dict[str, Any]:
    """Write a blob and return the layer that names it."""
    digest = hashlib.sha256(data).hexdigest()
    path = store / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    media = kind if "/" in kind else TYPE + kind
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}


def write_model(
    store: Path,
    name: str = "registry.ollama.ai/library/llama3.2/latest",
    *,
    parts: tuple[tuple[str, bytes], ...] = (("model", b"GGUF model"),),
    config: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a manifest with its blobs and return its path; `changes` replace its fields."""
    about = {"model_format": "gguf", "model_family": "llama", "file_type": "Q4_K_M"}
    body = json.dumps({**about, **(config or {})}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": blob(store, body, "application/vnd.docker.container.image.v1+json"),
        "layers": [blob(store, data, kind) for kind, data in parts],
        **changes,
    }
    path = store / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))
    return path
