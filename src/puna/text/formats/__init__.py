"""Published chat formats by name, for models whose folder says nothing; never chosen by guess.

Each is a Jinja file here, written from the format's published description, with generation
blocks. A first comment `{#- stop: ["…"] -#}` states the text that ends the assistant's turn.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from puna.errors import TemplateError
from puna.text.files import read_text

if TYPE_CHECKING:
    from puna.text.chat import ChatTemplate

_ALIASES = {
    "mistral-instruct": "mistral-v1",
    "falcon": "falcon-instruct",
    "llama-2": "llama-2-chat",
}
_FOLDER = Path(__file__).resolve().parent
_NO_BOS = "{%- set bos_token = '' -%}\n"
_STATED = re.compile(
    r"\s*(?:\{#-?\s*stop:\s*(\[[^\n]*\])\s*-?#\}"
    r"|\{\{-?\s*/\*\s*stop:\s*(\[[^\n]*\])\s*\*/)"
)


@cache
def format_names() -> tuple[str, ...]:
    """Return the names of the published formats, sorted."""
    return tuple(sorted([path.stem for path in _FOLDER.glob("*.jinja")] + list(_ALIASES)))


def read_format(name: str, *, bos: bool = True) -> str:
    """Return the Jinja text of a format that `format_names` lists.

    Without `bos` the text itself says that it begins with none, so that this still holds when the
    text is saved with a tuned model.
    """
    text = read_text(_FOLDER / f"{_ALIASES.get(name, name)}.jinja", TemplateError)
    first, rest = text.split("\n", 1)  # a comment, which may state the stop texts
    return text if bos else f"{first}\n{_NO_BOS}{rest}"


def stated_stops(source: str, name: str) -> tuple[str, ...]:
    """Return the stop texts that a template states in its first comment.

    Raises:
        TemplateError: the comment is there and is not a list of texts.
    """
    found = _STATED.match(source)
    if found is None:
        return ()
    try:
        stops = json.loads(found[1] or found[2])
    except ValueError:
        stops = None
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
        raise TemplateError("the stop comment must hold a JSON list of texts", where=name)
    return tuple(stops)


def with_stops(template: ChatTemplate) -> str:
    """Return a template's text with its stop texts stated in a first comment."""
    if not template.stops or stated_stops(template.source, template.name) == template.stops:
        return template.source
    stops = json.dumps(list(template.stops), ensure_ascii=True)
    if template.language == "go":
        return f"{{{{/* stop: {stops} */}}}}{template.source}"
    # A line break right after a comment is not text, so one that is text needs another before it.
    between = "\n" if template.source.startswith("\n") else ""
    return f"{{# stop: {stops} #}}{between}{template.source}"
