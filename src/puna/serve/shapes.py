"""What clients get: the objects of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from puna.engine import Completion
from puna.errors import TokenizerError
from puna.text import TextStream, Tokenizer


@dataclass(frozen=True, slots=True)
class Said:
    """One token of an answer: its text and log probability, and the likeliest at its place."""

    text: str
    logprob: float
    likeliest: tuple[tuple[bytes, float], ...]


def said_of(tokenizer: Tokenizer, prompt: Sequence[int], done: Completion) -> list[Said]:
    """Return the tokens of an answer with their log probabilities.

    The texts of the tokens, joined, are the text of the answer; a token that is only a part of a
    character has none, and the one that completes it has all of it. A token that was not said has
    its own bytes.
    """
    stream = TextStream(tokenizer, prompt)
    texts = [stream.push(token) for token in done.token_ids]
    if texts:
        texts[-1] += stream.finish()
    tops = done.top_logprobs or ((),) * len(texts)
    return [
        Said(text, logprob, tuple((_bytes_of(tokenizer, id), chance) for id, chance in top))
        for text, logprob, top in zip(texts, done.logprobs, tops, strict=True)
    ]


def _bytes_of(tokenizer: Tokenizer, token: int) -> bytes:
    """Return the bytes of an id; none for one that only pads the model's vocabulary."""
    try:
        return tokenizer.bytes_of(token)
    except TokenizerError:
        return b""


class Shape(Protocol):
    """How one way to ask puts answers into objects."""

    prefix: str
    whole: str
    chunk: str

    def opening(self, index: int) -> dict[str, Any] | None:
        """Return the choice that begins a stream, where there is one."""

    def answer(
        self, index: int, text: str, finish: str | None, said: Sequence[Said] | None
    ) -> dict[str, Any]:
        """Return a whole answer as a choice."""

    def piece(
        self, index: int, text: str, finish: str | None, said: Sequence[Said] | None
    ) -> dict[str, Any]:
        """Return what is new of an answer as a choice."""


class ChatShape:
    """Chat completions."""

    prefix = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any] | None:
        """See `Shape`."""
        return self._choice(index, "delta", {"role": "assistant", "content": ""}, None, None)

    def answer(
        self, index: int, text: str, finish: str | None, said: Sequence[Said] | None
    ) -> dict[str, Any]:
        """See `Shape`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return self._choice(index, "message", message, finish, said)

    def piece(
        self, index: int, text: str, finish: str | None, said: Sequence[Said] | None
    ) -> dict[str, Any]:
        """See `Shape`."""
        return self._choice(index, "delta", {"content": text} if text else {}, finish, said)

    def _choice(
        self,
        index: int,
        field: str,
        content: Mapping[str, Any],
        finish: str | None,
        said: Sequence[Said] | None,
    ) -> dict[str, Any]:
        found = None if said is None else {"content": [_token(s) for s in said], "refusal": None}
        return {"index": index, field: content, "logprobs": found, "finish_reason": finish}


class TextShape:
    """Completions."""

    prefix = "cmpl-"
    whole = "text_completion"
    chunk = "text_completion"

    def opening(self, index: int) -> dict[str, Any] | None:
        """See `Shape`."""
        return None

    def answer(
        self, index: int, text: str, finish: str | None, said: Sequence[Said] | None
    ) -> dict[str, Any]:
        """See `Shape`."""
        found = None if said is None else _columns(said)
        return {"index": index, "text": text, "logprobs": found, "finish_reason": finish}

    def piece(
        self, index: int, text: str, finish: str | None, said: Sequence[Said] | None
    ) -> dict[str, Any]:
        """See `Shape`."""
        return self.answer(index, text, finish, said)


def model_card(model_id: str, created: int) -> dict[str, Any]:
    """Return one entry of the list of models; `created` is in seconds of Unix time."""
    return {"id": model_id, "object": "model", "created": created, "owned_by": "puna"}


def usage_of(groups: Iterable[Sequence[Completion]]) -> dict[str, Any]:
    """Return the counts of tokens.

    Args:
        groups: the answers to each prompt, which counts once however many it has. Of its tokens
            those count as cached that none of its answers computed.
    """
    prompt = answers = cached = 0
    for group in groups:
        prompt += group[0].usage.prompt_tokens
        answers += sum(done.usage.completion_tokens for done in group)
        cached += min(done.usage.cached_tokens for done in group)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answers,
        "total_tokens": prompt + answers,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _token(said: Said) -> dict[str, Any]:
    likeliest = [
        {"token": raw.decode(errors="replace"), "logprob": logprob, "bytes": list(raw)}
        for raw, logprob in said.likeliest
    ]
    return {
        "token": said.text,
        "logprob": said.logprob,
        "bytes": list(said.text.encode()),
        "top_logprobs": likeliest,
    }


def _columns(said: Sequence[Said]) -> dict[str, Any]:
    offsets = accumulate((len(s.text) for s in said[:-1]), initial=0)
    tops = [{_name(raw): logprob for raw, logprob in s.likeliest} for s in said]
    return {
        "tokens": [s.text for s in said],
        "token_logprobs": [s.logprob for s in said],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": list(offsets) if said else [],
    }


def _name(raw: bytes) -> str:
    """Return a token as a key: its text, or its bytes where they are no text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
