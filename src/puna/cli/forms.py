"""Flags that say what an answer looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from puna.errors import UsageError

# A larger file is no grammar that somebody wrote.
_MOST_BYTES = 4 << 20


@Parameter(name="*")
@dataclass(frozen=True)
class Form:
    """What the answer looks like: one of these, through llguidance."""

    schema: Path | None = None
    "A file with a JSON schema: the answer is JSON that is valid under it."
    regex: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    "The answer matches this regular expression from end to end."
    choice: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "The answer is one of these texts; may be repeated."
    grammar: Path | None = None
    "A file with a grammar in Lark's notation, whose first rule is `start`."

    def fields(self) -> dict[str, Any]:
        """Return the same as fields of `Options`, with the files read.

        Raises:
            UsageError: a file that cannot be read.
        """
        return {
            "schema": _read(self.schema),
            "regex": self.regex,
            "choice": self.choice or None,
            "grammar": _read(self.grammar),
        }


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path.name} is larger than {_MOST_BYTES:,} bytes", where=str(path))
        return path.read_text("utf-8")
    except OSError as error:
        what = f"{path.name} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        what = f"{path.name} is not text in UTF-8"
    raise UsageError(what, where=str(path))
