"""Chat templates: the one renderer of chat, serving and training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from puna.errors import TemplateError
from puna.text.calls import Form, in_form, wanted_form, with_values
from puna.text.mask import assistant_spans, block_spans, mask_of
from puna.text.messages import Message, plain_messages, plain_options, plain_tools, with_reasoning
from puna.text.meter import Limits
from puna.text.probe import Unmarkable
from puna.text.running import compiled, rendered
from puna.text.scene import Program, Run, Scene, Span
from puna.text.tokenizer import Tokenizer, specials_of

Language = Literal["jinja", "go"]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation: its text, its ids, and for each id whether the assistant says it.

    `spans` are the characters [start, end) of the text that the assistant says.
    """

    text: str
    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    spans: tuple[Span, ...]


class ChatTemplate:
    """A published chat template, compiled in the sandbox; immutable, safe across threads.

    Content that is a list of text parts reaches the template as it is if the template loops
    over `content`, and joined if not. The role `developer` becomes `system` for a template that
    does not name it. Arguments of tool calls may be JSON text or objects; the template gets what
    it writes as JSON.

    Args:
        source: the text of the template.
        bos_token, eos_token: as the template writes them; None leaves them undefined.
        tokens: more variables of that kind, such as `unk_token`.
        name: what errors call it.
        tool_source: another template, used when tools are given.
        files: where it came from, for `save_template`; without any, its text is saved.
        limits: what one rendering may spend.
        clock: the moment that `strftime_now` tells.
        language: `go` for Go's text/template, as Ollama uses it.
        stops: text that ends the assistant's turn, where no token does.

    Raises:
        TemplateError: a syntax error (with its line), or something that the sandbox refuses.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str | None,
        eos_token: str | None,
        tokens: Mapping[str, str] = _NOTHING,
        name: str = "chat template",
        tool_source: str | None = None,
        files: tuple[Path, ...] = (),
        limits: Limits | None = None,
        clock: Callable[[], datetime] = datetime.now,
        language: Language = "jinja",
        stops: Sequence[str] = (),
    ) -> None:
        limits, go = limits or Limits(), language == "go"
        named = {"bos_token": bos_token, "eos_token": eos_token, **tokens}
        self.source = source
        self.tool_source = tool_source
        self.name = name
        self.files = files
        self.language = language
        self.stops = tuple(stops)
        self.tokens = MappingProxyType({k: v for k, v in named.items() if v is not None})
        self.clock = clock
        self._program = compiled(source, name, limits, go=go)
        self._tool_program = (
            self._program if tool_source is None else compiled(tool_source, name, limits, go=go)
        )

    def at(self, moment: datetime) -> ChatTemplate:
        """The same template with its clock stopped at this moment."""
        stopped = copy(self)
        stopped.clock = lambda: moment
        return stopped

    def render_text(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        options: Mapping[str, Any] = _NOTHING,
    ) -> str:
        """The text of a conversation.

        Args:
            messages, tools: as the OpenAI API writes them.
            add_generation_prompt: end where the assistant speaks next.
            options: what else the template looks at, such as `enable_thinking`.

        Raises:
            UsageError: messages, tools or options that are not what they should be.
            TemplateError: the template's own error, or a limit of the sandbox; with the line.
        """
        view = _View(self, messages, tools, options)
        return view.run(view.messages, add_generation_prompt).text

    def render_ids(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        options: Mapping[str, Any] = _NOTHING,
        tokenizer: Tokenizer,
    ) -> list[int]:
        """The ids of a conversation, as a prompt: needs no mask, so any template can give them.

        Raises: as `render_text`, and TokenizerError.
        """
        text = self.render_text(
            messages, tools=tools, add_generation_prompt=add_generation_prompt, options=options
        )
        return tokenizer.encode(text, add_special=False)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        options: Mapping[str, Any] = _NOTHING,
        tokenizer: Tokenizer,
    ) -> Rendered:
        """A conversation with the mask of what the assistant says, its end of turn included.

        The mask comes from the template's generation blocks; a template without them is rendered
        up to each turn instead, and every step of that is checked. A conversation in which the
        assistant says nothing has an all-false mask.

        Raises:
            UsageError: messages, tools or options that are not what they should be.
            TemplateError: as `render_text`, or the assistant's part cannot be told for certain.
            TokenizerError: text that cannot be encoded.
        """
        specials = specials_of(tokenizer)
        text, spans = self.mark(
            messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            options=options,
            specials=specials,
        )
        ids, offsets = tokenizer.encode_spans(text, add_special=False)
        return Rendered(text, tuple(ids), mask_of(spans, offsets), spans)

    def mark(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        options: Mapping[str, Any] = _NOTHING,
        specials: Sequence[str] | None = None,
    ) -> tuple[str, tuple[Span, ...]]:
        """The text, and the characters [start, end) of it that the assistant says.

        Args:
            messages, tools, add_generation_prompt, options: as for `render_text`.
            specials: the special tokens as they are written, since one of them ends a turn; None
                takes what is spelled like one, for a template without its tokenizer.

        Raises: as `render`, without TokenizerError.
        """
        view = _View(self, messages, tools, options)
        run = view.run(view.messages, add_generation_prompt)
        return run.text, view.spans(run, add_generation_prompt, specials)

    @cached_property
    def _forms(self) -> dict[int, Form]:
        return {}

    def _form(self, program: Program, options: Mapping[str, Any]) -> Form:
        """How this program wants the arguments of tool calls; found out once."""
        form = self._forms.get(id(program))
        if form is None:

            def attempt(messages: list[dict[str, Any]], tools: list[Any]) -> str | None:
                scene = Scene(messages, tools, False, self.tokens, options, self.clock())
                try:
                    return rendered(program, scene, self.name).text
                except TemplateError:
                    return None

            form = "object" if self.language == "go" else wanted_form(attempt)
            self._forms[id(program)] = form
        return form


class _View:
    """One conversation seen by one template at one moment."""

    def __init__(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        options: Mapping[str, Any],
    ) -> None:
        self._template = template
        self._tools = plain_tools(tools)
        self._program = template._tool_program if self._tools else template._program
        self._options = plain_options(options)
        self._now = template.clock()
        traits = self._program.traits
        plain = plain_messages(messages, joins=traits.joins, developer=traits.developer)
        if any(message.get("tool_calls") for message in plain):
            plain = in_form(plain, template._form(self._program, self._options))
        if template.language == "jinja":
            plain = with_reasoning(plain)
        self.messages = with_values(plain) if traits.values else plain

    def run(self, messages: Sequence[dict[str, Any]], ask: bool) -> Run:
        tokens = self._template.tokens
        scene = Scene(messages, self._tools, ask, tokens, self._options, self._now)
        return rendered(self._program, scene, self._template.name)

    def spans(self, run: Run, ask: bool, specials: Sequence[str] | None) -> tuple[Span, ...]:
        if not any(message["role"] == "assistant" for message in self.messages):
            return ()
        traits = self._program.traits
        if traits.captured:
            raise self._unmarkable("a generation block is inside a macro or captured text")
        try:
            if traits.generation:
                return block_spans(self.messages, run, lambda part: self.run(part, ask))
            return assistant_spans(
                self.messages, run.text, lambda part, asks: self.run(part, asks).text, specials
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
