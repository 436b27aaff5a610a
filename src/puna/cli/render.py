"""`puna render`: what a chat template makes of messages."""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from puna.cli.show import note, out, print_json

if TYPE_CHECKING:
    from puna.text import ChatTemplate, TextParts, Tokenizer


@Parameter(name="*")
@dataclass(frozen=True)
class Given:
    """What the template is given beside the messages."""

    tools: Path | None = None
    "A JSON file with a list of tools; `tools` beside `messages` in the file does the same."
    setting: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = ()
    "KEY=VALUE for the template, such as enable_thinking=false; may be repeated."
    now: datetime | None = None
    "The moment that the template's clock tells, such as 2024-07-26; by default the present."


def render_command(
    model_or_template: str,
    messages: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    tokenizer: Path | None = None,
    template: str | None = None,
    add_generation_prompt: bool | None = None,
    given: Given | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show the text and ids of messages, and which of them the assistant says.

    Without a tokenizer `ids` is null, and what is spelled like a special token counts as one.

    Parameters
    ----------
    model_or_template
        A model, a folder that holds only a tokenizer and a template, a .jinja or .gotmpl file, or
        a published chat format by name, such as vicuna.
    messages
        A JSON file with a list of messages, or {"messages": […], "tools": […]}; `-` reads
        standard input.
    tokenizer
        A folder or file whose tokenizer gives the ids, for a template that has none.
    template
        A format by name, or a file, in place of the model's own template.
    add_generation_prompt
        End where the assistant speaks next; by default unless it spoke last.
    json
        Print one JSON object: `text`, `ids`, `assistant` (for each id whether the assistant says
        it, or null with `reason` where that cannot be told), and `spans` (the same as characters
        [start, end) of the text).
    """
    given = given or Given()
    talk, tools = _conversation(messages, given.tools)
    chosen, ids_of = _opened(model_or_template, template, tokenizer, given)
    ask = _ask(talk) if add_generation_prompt is None else add_generation_prompt
    facts = _rendered(chosen, ids_of, talk, tools, ask, _options(given.setting))
    if json:
        print_json(facts)
        return
    out.print(_painted(facts, ids_of), soft_wrap=True)
    if facts["reason"]:
        note(facts["reason"])


def _conversation(messages: str, tools: Path | None) -> tuple[Any, Any]:
    value = _json(None if messages == "-" else Path(messages), "messages")
    found = None
    if isinstance(value, dict):
        found, value = value.get("tools"), value.get("messages")
    if tools is not None:
        found = _json(tools, "tools")
        found = found.get("tools") if isinstance(found, dict) else found
    return value, found


def _json(path: Path | None, what: str) -> Any:
    from puna.errors import DataError

    where = "standard input" if path is None else str(path)
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
        return json_module.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read the {what}: {error.strerror}", where=where) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"the {what} are not JSON: {error}", where=where) from None


def _options(settings: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE as JSON where it is JSON, else as text."""
    from puna.errors import UsageError

    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, not {setting!r:.80}")
        try:
            options[key] = json_module.loads(value)
        except ValueError:
            options[key] = value
    return options


def _opened(
    name: str, template: str | None, tokenizer: Path | None, given: Given
) -> tuple[ChatTemplate, Tokenizer | None]:
    """The template, and the tokenizer if there is one."""
    from puna.errors import TemplateError
    from puna.text import format_names, open_template, open_tokenizer

    ids_of = None if tokenizer is None else open_tokenizer(tokenizer)
    if name in format_names() or name.endswith((".jinja", ".gotmpl")):
        home = tokenizer if tokenizer is not None and tokenizer.is_dir() else None
        chosen: ChatTemplate | None = open_template(template or name, folder=home, tokenizer=ids_of)
    else:
        parts = _text_of(name, template)
        chosen, ids_of = parts.template, ids_of or parts.tokenizer
    if chosen is None:
        raise TemplateError(
            "this model has no chat template",
            where=name,
            remedy=f"choose a format with --template: {', '.join(format_names())}",
        )
    return (chosen if given.now is None else chosen.at(given.now)), ids_of


def _text_of(name: str, template: str | None) -> TextParts:
    from puna.errors import SourceError
    from puna.reading import text_of
    from puna.text import open_template

    try:
        return text_of(name, template=template)
    except SourceError:
        if "/" not in name and not Path(name).exists():
            open_template(name, folder=None, tokenizer=None)  # says which formats there are
        raise


def _ask(messages: Any) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return not (isinstance(last, dict) and last.get("role") == "assistant")


def _rendered(
    template: ChatTemplate,
    tokenizer: Tokenizer | None,
    messages: Any,
    tools: Any,
    ask: bool,
    options: dict[str, Any],
) -> dict[str, Any]:
    """The JSON of the command; what cannot be marked is shown without marks."""
    from puna.errors import TemplateError
    from puna.text import mask_of, specials_of

    text = template.render_text(messages, tools=tools, add_generation_prompt=ask, options=options)
    reason, spans = None, None
    try:
        text, spans = template.mark(
            messages,
            tools=tools,
            add_generation_prompt=ask,
            options=options,
            specials=None if tokenizer is None else specials_of(tokenizer),
        )
    except TemplateError as error:
        reason = error.what
    ids = assistant = None
    if tokenizer is not None:
        ids, offsets = tokenizer.encode_spans(text)
        assistant = None if spans is None else list(mask_of(spans, offsets))
    return {
        "text": text,
        "ids": ids,
        "assistant": assistant,
        "spans": None if spans is None else [list(span) for span in spans],
        "reason": reason,
    }


def _painted(facts: dict[str, Any], tokenizer: Tokenizer | None) -> Text:
    """The text for people: the assistant's part stands out, special tokens are dim."""
    from puna.text import special_pattern, specials_of

    painted = Text(facts["text"])
    for start, end in facts["spans"] or []:
        painted.stylize("bold green", start, end)
    tokens = None if tokenizer is None else specials_of(tokenizer)
    for found in special_pattern(tokens).finditer(facts["text"]):
        painted.stylize("dim", found.start(), found.end())
    return painted
