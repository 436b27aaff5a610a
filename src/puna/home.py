"""The one folder that holds all state Puna keeps: `PUNA_HOME`, by default `~/.puna`."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the state folder; it is not created here."""
    return Path(os.environ.get("PUNA_HOME") or Path.home() / ".puna").expanduser()  # noqa: TID251
