"""What clients send: OpenAI's chat completions and completions, as small records.

Every parameter that OpenAI documents is honored, accepted where it cannot change the answer, or
refused by name; none is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from puna.generate import Options
from puna.serve.fields import (
    Asking,
    Record,
    form,
    invalid,
    read_object,
    take,
    take_asking,
    whole,
    without_neutral,
)
from puna.serve.forms import Asked, Forms

# Parameters of OpenAI's that are not supported yet, and values of theirs that ask for nothing.
_LATER: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": (),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}
_LATER_IN_TEXT: Mapping[str, tuple[Any, ...]] = {"best_of": (), "echo": (False,), "suffix": ("",)}
# The same within a message; a client sends back what it was given, its empty fields included.
_LATER_IN_MESSAGE: Mapping[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "refusal": (),
    "tool_calls": ([],),
}
# As OpenAI has it.
_SHORT_TEXT = 16
_MOST_CHOICES = 128


class TextPart(Record):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


Content = Annotated[
    Annotated[str, Tag("<one>")] | Annotated[list[TextPart], Tag("<many>"), Field(min_length=1)],
    Discriminator(form),
]


class ChatMessage(Record):
    """One turn; which roles a model takes is its chat template's say."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content
    name: str | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return what the chat template is given."""
        return self.model_dump(exclude_none=True)


class ChatRequest(Record):
    """What POST /v1/chat/completions has of its own; the rest is in `Asking` and `Forms`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0


Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def _prompt_form(value: Any) -> str:
    if isinstance(value, str):
        return "<text>"
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, str):
        return "<texts>"
    return "<rows>" if isinstance(first, list) else "<ids>"


Prompt = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Tag("<texts>")]
    | Annotated[list[Ids], Tag("<rows>")]
    | Annotated[Ids, Tag("<ids>")],
    Discriminator(_prompt_form),
]


class TextRequest(Record):
    """What POST /v1/completions has of its own; the rest is in `Asking` and `Forms`."""

    prompt: Prompt
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts, each as text or as ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [part for part in self.prompt if isinstance(part, int)]
        return [ids] if ids else [part for part in self.prompt if not isinstance(part, int)]


@dataclass(frozen=True, slots=True)
class Call:
    """How to answer, as it was read.

    Args:
        asking: what both ways to ask have.
        options: how the model is to answer; it has no limit of tokens yet.
        limit: the most tokens to say, or None for what the context leaves.
        form: what the answer looks like, where that is asked for.
    """

    asking: Asking
    options: Options
    limit: int | None
    form: Asked | None


def parse_chat(body: bytes) -> tuple[Call, ChatRequest]:
    """Read the body of POST /v1/chat/completions.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    kept = without_neutral(read_object(body), _LATER)
    messages = kept.get("messages")
    if isinstance(messages, list):
        kept["messages"] = [
            without_neutral(message, _LATER_IN_MESSAGE, f"messages[{index}].")
            if isinstance(message, dict)
            else message
            for index, message in enumerate(messages)
        ]
    asking, forms = take_asking(kept), take(Forms, kept)
    chat = whole(ChatRequest, kept)
    if asking.max_tokens is not None and chat.max_completion_tokens is not None:
        raise invalid("max_tokens", "give max_tokens or max_completion_tokens, not both")
    if chat.top_logprobs and not chat.logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs to be true")
    options = replace(asking.options(), logprobs=chat.logprobs, top_logprobs=chat.top_logprobs)
    limit = chat.max_completion_tokens or asking.max_tokens
    return _call(asking, options, limit, forms), chat


def parse_text(body: bytes) -> tuple[Call, TextRequest]:
    """Read the body of POST /v1/completions.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    sent = read_object(body)
    if "best_of" in sent and sent["best_of"] in (1, sent.get("n", 1)):  # nothing to choose from
        del sent["best_of"]
    kept = without_neutral(sent, _LATER_IN_TEXT)
    asking, forms = take_asking(kept), take(Forms, kept)
    text = whole(TextRequest, kept)
    count = len(text.prompts()) * asking.n
    if count > _MOST_CHOICES:
        raise invalid("prompt", f"{count} answers are asked for at once; at most {_MOST_CHOICES}")
    wanted = text.logprobs is not None
    options = replace(asking.options(), logprobs=wanted, top_logprobs=text.logprobs or 0)
    return _call(asking, options, asking.max_tokens or _SHORT_TEXT, forms), text


def _call(asking: Asking, options: Options, limit: int | None, forms: Forms) -> Call:
    asked = forms.asked()
    if asked is not None:
        options = replace(options, **{asked.option: asked.value})
    return Call(asking, options, limit, asked)
