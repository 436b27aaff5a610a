"""Where state lives, read from the environment in this one place.

`PUNA_HOME`, by default `~/.puna`, holds all state Puna keeps. Models of a hub are kept in the
layout of the Hugging Face cache: in that very cache where the user says where it is, and else
under PUNA_HOME.
"""

from __future__ import annotations

import os
from pathlib import Path

_YES = {"1", "ON", "YES", "TRUE"}


def home() -> Path:
    """Return the state folder; it is not created here."""
    return _folder("PUNA_HOME") or Path.home() / ".puna"


def hub_cache() -> Path:
    """Return the cache that models are pulled into.

    It is the Hugging Face cache where HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE or HF_HOME names one:
    who sets them has chosen a disk for models, and other tools then share what is there. Without
    them it is `hub` in PUNA_HOME.
    """
    return _named_cache() or home() / "hub"


def own_cache() -> Path | None:
    """Return `hub_cache` where only Puna writes into it; None where the user named a cache."""
    return None if _named_cache() else hub_cache()


def hub_caches() -> tuple[Path, ...]:
    """Return every cache that models are looked for in: `hub_cache` and the user's default one."""
    shared = _folder("XDG_CACHE_HOME") or Path.home() / ".cache"
    places = (hub_cache(), home() / "hub", shared / "huggingface" / "hub")
    return tuple(dict.fromkeys(places))


def ollama_stores() -> tuple[Path, ...]:
    """Return the folders Ollama keeps models in: OLLAMA_MODELS, or those of user and service."""
    if named := _folder("OLLAMA_MODELS"):
        return (named,)
    service = Path("/usr/share/ollama/.ollama/models")
    return (Path.home() / ".ollama" / "models", service)


def offline() -> bool:
    """Return whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids every connection."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")  # noqa: TID251
    return (value or "").upper() in _YES


def kernels() -> str | None:
    """Return what PUNA_KERNELS says: `off`, or the instructions to use, such as `avx2`."""
    return os.environ.get("PUNA_KERNELS") or None  # noqa: TID251


def _named_cache() -> Path | None:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := _folder(variable):
            return folder
    root = _folder("HF_HOME")
    return root / "hub" if root else None


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)  # noqa: TID251
    return Path(os.path.expandvars(value)).expanduser() if value else None
