"""What a model's name was resolved to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from puna.source.ollama import OllamaModel

Kind = Literal["builtin", "folder", "file", "hub", "ollama"]


@dataclass(frozen=True, slots=True)
class Source:
    """A model's name, and where its files are.

    Attributes:
        name: as users write it, without revision.
        path: the folder with its files; the file itself where one file is the model (GGUF).
        revision: the commit, of a model of a hub.
        files: digests by file name below `root`, as far as they are known: SHA-256, or the SHA-1
            that git gives the file.
        license: as recorded when it was pulled.
        kind: where it comes from.
        weights: the one file of weights to read, where the user named it.
        base: what the names in `files` are relative to, where it is not `path`.
        ollama: template, parameters and the rest, of a model of Ollama's store.
    """

    name: str
    path: Path
    revision: str | None = None
    files: Mapping[str, str] | None = None
    license: str | None = None
    kind: Kind = "folder"
    weights: Path | None = None
    base: Path | None = None
    ollama: OllamaModel | None = None

    @property
    def root(self) -> Path:
        """What the names in `files` are relative to."""
        return self.base or self.path
