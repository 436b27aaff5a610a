"""What a template is given and what it gives back, whatever language it is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

Span = tuple[int, int]


class Raised(Exception):
    """The template refuses the conversation by its own words."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One conversation at one moment, as plain JSON values.

    Args:
        messages, tools: checked and copied; see `puna.text.messages`.
        ask: whether the text ends where the assistant speaks next.
        tokens: special tokens by name, such as `bos_token`.
        options: what else the template may look at, such as `enable_thinking`.
        now: the moment that the template's clock tells.
    """

    messages: Sequence[dict[str, Any]]
    tools: list[Any] | None
    ask: bool
    tokens: Mapping[str, str]
    options: Mapping[str, Any]
    now: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One rendering: its text, and the generation blocks as characters [start, end)."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """What the source tells about a template.

    `generation`: it has generation blocks; `captured`: some in text that is captured first, where
    their place in the output is not known; `joins`: what joins content that is a list of parts,
    None if the template takes the parts itself; `developer`: it knows that role; `values`: it takes
    results of tools that are JSON as values, not as text.
    """

    generation: bool
    captured: bool
    joins: str | None
    developer: bool
    values: bool = False


class Program(Protocol):
    """A compiled template; immutable, so that threads may run it at once."""

    @property
    def traits(self) -> Traits:
        """What the source tells."""

    def render(self, scene: Scene) -> Run:
        """Renders a conversation.

        Raises:
            puna.text.meter.Stop: a limit was hit.
            Raised: the template's own refusal. Other errors are the template's faults.
        """

    def line_of(self, error: BaseException) -> int | None:
        """The template's line where an error came from."""
