"""The catalog of well-known open models: facts as data, in catalog.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

_FILE = Path(__file__).with_name("catalog.toml")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A known model; see the head of catalog.toml. What is not known for sure is None."""

    name: str
    id: str
    family: str
    license: str
    data: str
    good_for: str
    context: int | None = None
    parameters: int | None = None
    base: str | None = None
    kind: Literal["model", "adapter"] = "model"
    gated: bool = False
    note: str | None = None


@cache
def known_models() -> Mapping[str, CatalogEntry]:
    """Return every entry by its short name, in the order of the file."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {name: CatalogEntry(name, **table) for name, table in tables.items()}


def catalog_id(name: str) -> str | None:
    """Return the hub id of a short name, or None."""
    entry = known_models().get(name)
    return entry.id if entry else None


def find_entry(name: str) -> CatalogEntry | None:
    """Return the entry of a short name or a hub id, or None."""
    by_id = {entry.id.lower(): entry for entry in known_models().values()}
    return known_models().get(name) or by_id.get(name.lower())


def bases(entry: CatalogEntry) -> Iterator[str]:
    """Yield the hub ids an entry was made from, the nearest first."""
    while entry.base:
        base = known_models().get(entry.base)
        yield base.id if base else entry.base
        if base is None:
            return
        entry = base
