"""One tree of errors; what a user sees is at most three lines: what, where, remedy.

PunaError
├── UsageError        an argument that cannot be meant
├── SourceError       no model, file or built-in name there
├── FormatError       bytes that are not what they claim to be
├── ConfigError       a config.json that cannot be read exactly
├── WeightsError      tensors missing, left over or of the wrong shape
├── TokenizerError    a tokenizer that cannot be read or is not there
├── TemplateError     a chat template that is absent, unsafe, endless or wrong
├── AdapterError      an adapter that does not fit its base
├── DataError         a data set row that cannot be used
├── ContextError      a prompt longer than the model's context
├── SealError         a model that is not the one that was sealed
├── StorageError      a write that did not reach the disk
├── FitError          a job that would not fit in memory
└── ServeError        a server that cannot start
"""

from __future__ import annotations

from typing import ClassVar


class PunaError(Exception):
    """What went wrong, where, and what to do about it.

    Args:
        what: one sentence that names the thing at fault.
        where: file, line, tensor or key; omitted when `what` already says it.
        remedy: the next step for the user; without one, the `usual` of its kind.
    """

    usual: ClassVar[str | None] = None

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy or self.usual

    def __str__(self) -> str:
        lines = [_line(self.what)]
        if self.where:
            lines.append(f"  at: {_line(self.where)}")
        if self.remedy:
            lines.append(f"  try: {_line(self.remedy)}")
        return "\n".join(lines)


def _line(text: str) -> str:
    """Return a text in one line, without what a terminal would obey: names come from files."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)


class UsageError(PunaError):
    """An argument that cannot be meant."""


class SourceError(PunaError):
    """No model, file or built-in name there."""

    usual = "look at the name; puna list shows what is here"


class FormatError(PunaError):
    """Bytes that are not what they claim to be."""

    usual = "get the file again from where it came from"


class ConfigError(PunaError):
    """A config.json that cannot be read exactly."""

    usual = "correct config.json, or get it again"


class WeightsError(PunaError):
    """Tensors missing, left over or of the wrong shape."""

    usual = "get config and weights again, of one revision"


class TokenizerError(PunaError):
    """A tokenizer that cannot be read or is not there."""

    usual = "get the tokenizer's files again, of one revision"


class TemplateError(PunaError):
    """A chat template that is absent, unsafe, endless or wrong."""

    usual = "correct the template, or choose another with --template"


class AdapterError(PunaError):
    """An adapter that does not fit its base."""

    usual = "use a LoRA adapter that was trained on this base"


class DataError(PunaError):
    """A data set row that cannot be used."""

    usual = "correct the row"


class ContextError(PunaError):
    """A prompt longer than the model's context.

    `prompt_tokens`, `max_tokens` and `context` are counts of tokens.
    """

    def __init__(self, *, prompt_tokens: int, max_tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and asks for up to {max_tokens} more, "
            f"but the model's context is {context}",
            remedy="shorten the prompt or ask for fewer tokens; nothing is cut in silence",
        )
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.context = context


class StorageError(PunaError):
    """A write that did not reach the disk; the old file is still there."""

    usual = "free some space, or choose another folder"


class SealError(PunaError):
    """A model that is not the one that was sealed, or that no longer does what it did."""

    usual = "see what changed: puna verify MODEL"


class FitError(PunaError):
    """A job that would not fit in memory; nothing was allocated."""

    usual = "free memory, use a smaller model, or insist with --ignore-key memory"


class ServeError(PunaError):
    """A server that cannot start."""
