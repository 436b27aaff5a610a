"""JSONL read strictly: each line is one object in UTF-8, and each key stands once in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from puna.errors import DataError, SourceError

_LINE_BYTES = 64 << 20


def read_lines(path: Path, *, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) for every line that is not blank; lines count from 1.

    Args:
        path: the file.
        what: what errors call it, such as "task file".

    Raises:
        SourceError: the file is not there or cannot be read.
        DataError: a line that is not such an object, with file and line; or no rows.
    """
    try:
        with path.open("rb") as file:
            found = False
            for number in count(1):
                raw = file.readline(_LINE_BYTES + 1)
                if not raw:
                    break
                if raw.strip(b" \t\r\n"):
                    found = True
                    yield number, _parse(raw, number == 1, f"{path}, line {number}")
    except OSError as error:
        raise SourceError(
            f"cannot read the {what}: {error.strerror}",
            where=str(path),
            remedy="give the path of a JSONL file",
        ) from error
    if not found:
        raise DataError(
            f"the {what} is empty", where=f"{path}, line 1", remedy="write one JSON object per line"
        )


def _parse(raw: bytes, first: bool, where: str) -> dict[str, Any]:
    if len(raw) > _LINE_BYTES:
        raise DataError(
            f"this line is longer than {_LINE_BYTES >> 20} MiB",
            where=where,
            remedy="write one row per line",
        )
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        # A lone surrogate can be escaped in JSON, but it is no text that a tokenizer takes.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"this line is not UTF-8: {error.reason}", where=where, remedy="save the file as UTF-8"
        ) from error
    except UnicodeEncodeError as error:
        raise DataError(
            "this line has half of a surrogate pair", where=where, remedy="write both halves"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"this line is not JSON: {error.msg}, column {error.colno}",
            where=where,
            remedy="write one JSON object per line, without line breaks inside",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"this line is not plain JSON: {error}", where=where, remedy="correct the row"
        ) from error
    if not isinstance(value, dict):
        raise DataError(
            "this line is not a JSON object", where=where, remedy='write {"key": "value", …}'
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} stands twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
