"""What the `tokenizers` library must not be given: it ends the whole process.

A BPE model may say what pieces within a word begin with. The library (0.23) takes that many bytes
off the second piece of each merge without looking: from a piece that does not begin so, it makes
text that is not UTF-8, and aborts where it would tell of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from puna.errors import TokenizerError
from puna.text.ids import short

_KEY = "continuing_subword_prefix"
_NOTHING = re.compile(rf'"{_KEY}"\s*:\s*(?:null|"")\s*[,}}]')
# An escape of a plain letter: by these a name may be spelled that is not found as it stands.
_ESCAPE = re.compile(r"\\u00[2-7]")


def check_source(source: str, name: str, where: str) -> None:
    """Refuse a tokenizer.json whose merges do not fit what it says of pieces within words.

    Raises:
        TokenizerError: names the merge; or the file is not JSON, or has a name twice.
    """
    if source.count(_KEY) == len(_NOTHING.findall(source)) and not _ESCAPE.search(source):
        return  # as of nearly all: the file may be large, and is not read twice for nothing
    try:
        whole = json.loads(source, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(
            f"{name} is not a tokenizer.json: {short(error)}", where=where
        ) from None
    model = whole.get("model") if isinstance(whole, dict) else None
    prefix = model.get(_KEY) if isinstance(model, dict) else None
    merges = model.get("merges") if isinstance(model, dict) else None
    if prefix and isinstance(prefix, str) and isinstance(merges, list):
        _check_merges(merges, prefix, name, where)


def _check_merges(merges: Iterable[Any], prefix: str, name: str, where: str) -> None:
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        second = pair[-1] if isinstance(pair, list) and pair else None
        if not isinstance(second, str) or not second.startswith(prefix):
            raise TokenizerError(
                f"{name} has a merge {short(repr(merge))} whose second piece does not begin with "
                f"{short(repr(prefix))}, as pieces within words do there",
                where=where,
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name stands twice")
    return entries
