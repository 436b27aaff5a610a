"""What a model is asked, as ids: text encoded, conversations rendered, both checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

from puna.errors import ContextError, TemplateError, TokenizerError, UsageError
from puna.generate.score import Pair, shared_start
from puna.loading import Parts
from puna.text import ChatTemplate, Tokenizer, format_names

Prompt = str | Sequence[int]
Message = Mapping[str, Any]


class Prompts:
    """Turns what is asked into ids for one model."""

    def __init__(self, parts: Parts) -> None:
        self._text = parts.text
        self._source = parts.source
        self._spec = parts.spec

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `LanguageModel.encode`."""
        if isinstance(prompt, str):
            return tuple(self.tokenizer().encode(prompt))
        return whole(prompt)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        options: Mapping[str, Any] | None,
    ) -> tuple[int, ...]:
        """See `LanguageModel.render`."""
        template, tokenizer = self._template(), self.tokenizer()
        led = self._led(messages)
        return tuple(
            template.render_ids(led, tools=tools, options=options or {}, tokenizer=tokenizer)
        )

    def pair(self, prompt: Prompt, continuation: Prompt) -> Pair:
        """Return the ids of both, and where the continuation starts.

        Raises:
            ContextError: they are longer than the context.
            UsageError: one of them has no token.
        """
        head = self.encode(prompt)
        if isinstance(prompt, str) and isinstance(continuation, str):
            both = self.encode(prompt + continuation)
            same = shared_start(head, both)
            if 0 < same < len(both):
                return self._scorable(both, same)
        if isinstance(continuation, str):
            tail = tuple(
                self.tokenizer().encode(continuation, add_special=False, parse_special=False)
            )
        else:
            tail = whole(continuation)
        return self._scorable(head + tail, len(head))

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raise UsageError where there are none, or one that the model does not know."""
        if not ids:
            raise UsageError("the prompt is empty", remedy="give at least one token")
        if not 0 <= min(ids) <= max(ids) < self._spec.vocab:
            raise UsageError(f"ids must lie between 0 and {self._spec.vocab - 1}")

    def check(self, ids: Sequence[int]) -> None:
        """Raise ContextError as well, where there are more than the context holds."""
        self.check_ids(ids)
        if len(ids) > self._spec.context:
            raise ContextError(prompt_tokens=len(ids), max_tokens=0, context=self._spec.context)

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer.

        Raises:
            TokenizerError: there is none.
        """
        if self._text.tokenizer is None:
            raise TokenizerError(
                "this checkpoint has no tokenizer",
                where=str(self._source.path),
                remedy="pass ids instead of text, or put its tokenizer files in the folder",
            )
        return self._text.tokenizer

    def _template(self) -> ChatTemplate:
        if self._text.template is None:
            raise TemplateError(
                "this model has no chat template",
                where=str(self._source.path),
                remedy="choose its published format by name, as in puna.load(…, template='vicuna') "
                f"or --template vicuna: {', '.join(format_names())}",
            )
        return self._text.template

    def _led(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Put what Ollama's store says before every conversation first, as Ollama does."""
        stored = self._source.ollama
        if stored is None or not isinstance(messages, Sequence):
            return messages
        first = messages[0] if messages else {}
        has_one = isinstance(first, Mapping) and first.get("role") in ("system", "developer")
        lead = messages[:1] if has_one else []
        if not has_one and stored.system:
            lead = [{"role": "system", "content": stored.system}]
        return [*lead, *stored.messages, *messages[1 if has_one else 0 :]]

    def _scorable(self, ids: tuple[int, ...], start: int) -> Pair:
        self.check(ids)
        if start == 0 or start == len(ids):
            raise UsageError("scoring needs a prompt and a continuation of at least a token each")
        return ids, start


def whole(ids: Sequence[int]) -> tuple[int, ...]:
    """Return ids as plain numbers; those of a tensor or an array count too.

    Raises:
        UsageError: what is no whole number.
    """
    try:
        return tuple(index(i) for i in ids)
    except TypeError as error:
        raise UsageError(
            "ids must be a list of whole numbers", remedy="encode text with lm.encode first"
        ) from error
