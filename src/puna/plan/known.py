"""Dimensions of well-known models, for a plan without any connection."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from puna.source import bases, find_entry

_FILE = Path(__file__).with_name("known.toml")


@cache
def known_configs() -> Mapping[str, Mapping[str, Any]]:
    """Return what a config.json would say, by the catalog's name, in the order of known.toml."""
    groups = tomllib.loads(_FILE.read_text(encoding="utf-8")).values()
    return {
        name: {**{key: value for key, value in group.items() if key != "models"}, **own}
        for group in groups
        for name, own in group["models"].items()
    }


def known_config(model: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return the known model that a name of the catalog or a hub id is, or was made from.

    An adapter is planned as its base: what it adds is small.
    """
    entry = find_entry(model)
    if entry is None:
        return None
    for name in (entry.id, *bases(entry)):
        found = find_entry(name)
        if found and found.name in known_configs():
            return found.name, known_configs()[found.name]
    return None
