"""Chat templates: the one renderer of chat, serving and training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2

from puna.errors import TemplateError
from puna.text.files import copy_files, read_object, read_object_if_any, read_text
from puna.text.ids import short
from puna.text.mask import Span, Unmarkable, assistant_spans, token_mask
from puna.text.messages import Message, plain_messages, plain_tools
from puna.text.meter import Limits, Stop
from puna.text.sandbox import Program, Raised, Run
from puna.text.settings import CONFIG, ROLES, read_settings
from puna.text.tokenizer import Tokenizer

_JINJA = "chat_template.jinja"
_JSON = "chat_template.json"
_TOOLS_JINJA = "additional_chat_templates/tool_use.jinja"
_DEFAULT = "default"
_TOOL_USE = "tool_use"
_NO_TOKENS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation: its text, its ids, and for each id whether the assistant says it."""

    text: str
    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


class ChatTemplate:
    """A published chat template, compiled in the sandbox; immutable, safe across threads.

    Content that is a list of text parts reaches the template as it is if the template loops
    over `content`, and joined with newlines if not.

    Args:
        source: the Jinja text.
        bos_token, eos_token: as the template writes them; None leaves them undefined.
        tokens: more variables of that kind, such as `unk_token`.
        name: what errors call it.
        tool_source: another template, used when tools are given.
        files: where it came from, for `save_template`.
        limits: what one rendering may spend.
        clock: the moment that `strftime_now` tells.

    Raises:
        TemplateError: a syntax error (with its line), or something that the sandbox refuses.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str | None,
        eos_token: str | None,
        tokens: Mapping[str, str] = _NO_TOKENS,
        name: str = "chat template",
        tool_source: str | None = None,
        files: tuple[Path, ...] = (),
        limits: Limits | None = None,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        limits = limits or Limits()
        named = {"bos_token": bos_token, "eos_token": eos_token, **tokens}
        self.source = source
        self.tool_source = tool_source
        self.name = name
        self.files = files
        self.tokens = MappingProxyType({k: v for k, v in named.items() if v is not None})
        self._clock = clock
        self._program = _compiled(source, name, limits)
        self._tool_program = (
            self._program if tool_source is None else _compiled(tool_source, name, limits)
        )

    def render_text(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of a conversation.

        Raises:
            UsageError: messages or tools that are not what they should be.
            TemplateError: the template's own error, or a limit of the sandbox; with the line.
        """
        view = _View(self, messages, tools, self._clock())
        return view.run(view.messages, add_generation_prompt).text

    def render_ids(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        tokenizer: Tokenizer,
    ) -> list[int]:
        """The ids of a conversation, as a prompt: needs no mask, so any template can give them.

        Raises: as `render_text`, and TokenizerError.
        """
        text = self.render_text(messages, tools=tools, add_generation_prompt=add_generation_prompt)
        return tokenizer.encode(text, add_special=False)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        tokenizer: Tokenizer,
    ) -> Rendered:
        """A conversation with the mask of what the assistant says, its end of turn included.

        The mask comes from the template's generation blocks; a template without them is rendered
        up to each turn instead, and every step of that is checked. A conversation in which the
        assistant says nothing has an all-false mask.

        Raises:
            UsageError: messages or tools that are not what they should be.
            TemplateError: as `render_text`, or the assistant's part cannot be told for certain.
            TokenizerError: text that cannot be encoded.
        """
        view = _View(self, messages, tools, self._clock())
        run = view.run(view.messages, add_generation_prompt)
        spans = view.spans(run, tokenizer)
        ids, offsets = tokenizer.encode_spans(run.text, add_special=False)
        return Rendered(run.text, tuple(ids), token_mask(spans, offsets))


class _View:
    """One conversation seen by one template at one moment."""

    def __init__(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        now: datetime,
    ) -> None:
        self._template = template
        self._tools = plain_tools(tools)
        self._program = template._tool_program if self._tools else template._program
        self._now = now
        traits = self._program.traits
        self.messages = plain_messages(messages, join_parts=not traits.walks_content)

    def run(self, messages: Sequence[dict[str, Any]], add_generation_prompt: bool) -> Run:
        variables = {
            **self._template.tokens,
            "messages": list(messages),
            "tools": self._tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return _rendered(self._program, variables, self._template.name, self._now)

    def spans(self, run: Run, tokenizer: Tokenizer) -> tuple[Span, ...]:
        if not any(message["role"] == "assistant" for message in self.messages):
            return ()
        traits = self._program.traits
        if traits.captured:
            raise self._unmarkable("a generation block is inside a macro or captured text")
        if traits.generation:
            return run.spans
        specials = [tokenizer.piece(token) for token in sorted(tokenizer.special_ids)]
        try:
            return assistant_spans(
                self.messages, run.text, lambda part, ask: self.run(part, ask).text, specials
            )
        except Unmarkable as exc:
            raise self._unmarkable(str(exc)) from None
        except TemplateError as exc:
            raise self._unmarkable(
                f"a part of the conversation does not render: {exc.what}"
            ) from None

    def _unmarkable(self, reason: str) -> TemplateError:
        return TemplateError(
            f"the assistant's tokens cannot be marked: {reason}",
            where=self._template.name,
            remedy="put {% generation %} … {% endgeneration %} around what the assistant says "
            "in the template",
        )


def load_template(
    folder: Path, tokenizer: Tokenizer | None, *, limits: Limits | None = None
) -> ChatTemplate | None:
    """Reads the chat template of a checkpoint's folder; None where it has none.

    chat_template.jinja wins over chat_template.json, and that over tokenizer_config.json. Where
    several are named, "default" is taken, and "tool_use" when tools are given.

    Raises:
        TemplateError: a file that is broken, or a template that the sandbox refuses.
        TokenizerError: a broken tokenizer_config.json.
    """
    path, sources = _sources(folder)
    if not sources:
        return None
    extra = folder / _TOOLS_JINJA
    files = (path,) if path.name != CONFIG else ()
    if extra.is_file():
        sources[_TOOL_USE] = read_text(extra, TemplateError)
    if _DEFAULT not in sources:
        raise TemplateError(
            f"{path.name} names the templates {', '.join(sorted(sources))}, but no default",
            where=str(path),
        )
    tokens = _tokens(folder, tokenizer)
    return ChatTemplate(
        sources[_DEFAULT],
        bos_token=tokens.pop("bos_token", None),
        eos_token=tokens.pop("eos_token", None),
        tokens=tokens,
        name=str(path),
        tool_source=sources.get(_TOOL_USE),
        files=files,
        limits=limits,
    )


def save_template(template: ChatTemplate, folder: Path) -> tuple[Path, ...]:
    """Copies the template's own files byte by byte; `save_tokenizer` copies the shared ones.

    Raises:
        StorageError: a file that could not be read or written.
    """
    return copy_files(template.files, folder)


def _sources(folder: Path) -> tuple[Path, dict[str, str]]:
    """The file that holds the template, and the templates in it by name."""
    path = folder / _JINJA
    if path.is_file():
        return path, {_DEFAULT: read_text(path, TemplateError)}
    path = folder / _JSON
    if path.is_file():
        value = read_object(path, TemplateError).get("chat_template")
    else:
        path = folder / CONFIG
        value = read_object_if_any(path).get("chat_template")
    if value is None:
        return path, {}
    if isinstance(value, str):
        return path, {_DEFAULT: value}
    if isinstance(value, list):
        named = [e for e in value if isinstance(e, dict)]
        table = {e.get("name"): e.get("template") for e in named}
        if len(named) == len(value) and all(
            isinstance(part, str) for entry in table.items() for part in entry
        ):
            return path, {str(k): str(v) for k, v in table.items()}
    raise TemplateError("chat_template must be text or a list of named texts", where=str(path))


def _tokens(folder: Path, tokenizer: Tokenizer | None) -> dict[str, str]:
    """Special tokens as the files write them, else as the tokenizer's vocabulary does."""
    roles = read_settings(folder).roles
    tokens = {role: text for role in ROLES if (text := roles.get(role)) is not None}
    if tokenizer is not None:
        ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
        for role, token in ids.items():
            if role not in roles and token is not None:
                tokens[role] = tokenizer.piece(token)
    return tokens


def _compiled(source: str, name: str, limits: Limits) -> Program:
    try:
        return Program(source, limits)
    except jinja2.TemplateSyntaxError as exc:
        raise TemplateError(
            f"the chat template has a syntax error: {short(exc.message or 'unknown')}",
            where=f"{name}, line {exc.lineno}",
        ) from None
    except Stop as exc:
        raise _refused(str(exc), name) from None
    except RecursionError:
        raise _refused("it nests too deep", name) from None
    except Exception as exc:
        # What the template's compiler itself trips over, such as loops nested a hundred deep.
        raise TemplateError(
            f"the chat template cannot be compiled: {short(exc) or type(exc).__name__}", where=name
        ) from None


def _rendered(program: Program, variables: dict[str, Any], name: str, now: datetime) -> Run:
    try:
        return program.run(variables, now)
    except Stop as exc:
        raise _refused(str(exc), _place(program, name, exc)) from None
    except Raised as exc:
        raise TemplateError(
            f"the chat template refuses this conversation: {short(exc)}",
            where=_place(program, name, exc),
        ) from None
    except RecursionError as exc:
        raise _refused("it calls itself without end", _place(program, name, exc)) from None
    except MemoryError as exc:
        raise _refused("it takes more memory than there is", _place(program, name, exc)) from None
    except Exception as exc:
        # A template can fail in every way Python can; none of them may reach the user raw.
        raise TemplateError(
            f"the chat template fails: {short(exc) or type(exc).__name__}",
            where=_place(program, name, exc),
        ) from None


def _place(program: Program, name: str, error: BaseException) -> str:
    line = program.line_of(error)
    return name if line is None else f"{name}, line {line}"


def _refused(reason: str, where: str) -> TemplateError:
    return TemplateError(
        f"the chat template was stopped: {short(reason)}",
        where=where,
        remedy="use a template from a source that you trust",
    )
