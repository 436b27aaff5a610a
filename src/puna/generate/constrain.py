"""Grammars compiled for a model's vocabulary, through llguidance (an optional dependency)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from puna.errors import PunaError, TokenizerError, UsageError
from puna.generate.grammar import Choice, Grammar, JsonSchema, Lark, Regex
from puna.text import Tokenizer

# A hostile grammar must not hold up the requests beside it. The first limit also bounds how much
# text is forced in one go; a list of 5,000 values needs about 100,000.
_LIMITS = {"initial_lexer_fuel": 150_000, "verbose_errors": False}
_JSON = {
    "whitespace_flexible": False,  # or a small model wanders off into white space
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
}
_COMPILED = 64  # grammars that are kept: a program asks for the same one again and again
_UNMERGED = "\x02"  # stands before a text that is encoded, so that none is put or merged there
_OVERLAP = "oneOf with alternatives that overlap is not supported; use anyOf"


class Grammars:
    """Compiles grammars for one model. Methods suit any thread; what they return is one request's.

    Args:
        tokenizer: of the model.
        vocab: of the model's logits, which may be padded beyond the tokenizer's.
        stop_ids: ids that end an answer; they are allowed where the grammar is complete.

    Raises:
        UsageError: llguidance is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, vocab: int, stop_ids: Collection[int]) -> None:
        self._library = _library()
        stops = [token for token in sorted(stop_ids) if token < vocab]
        # A model without a token that ends an answer gets one that it cannot say.
        words = _Words(tokenizer, vocab, stops or [vocab])
        self._vocab = vocab
        self._can_stop = bool(stops)
        self._words = self._library.LLTokenizer(words, eos_token=words.eos_tokens)
        self._compiled = lru_cache(_COMPILED)(self._compile)

    def constraint(self, grammar: Grammar) -> GrammarConstraint:
        """Return a fresh constraint.

        Raises:
            UsageError: a grammar that cannot be read, that is too large, or that allows nothing.
        """
        return self._fresh(self._compiled(grammar))

    def _fresh(self, matcher: Any) -> GrammarConstraint:
        return GrammarConstraint(matcher.deep_copy(), self._vocab, can_stop=self._can_stop)

    def _compile(self, grammar: Grammar) -> Any:
        kind = _NAMES[type(grammar)]
        matcher_of: Any = self._library.LLMatcher
        limits = self._library.LLParserLimits(**_LIMITS)
        try:
            source = _source(matcher_of, grammar)
        except ValueError as error:
            raise UsageError(f"{kind}: {_short(error)}", where=kind) from None
        matcher = matcher_of(self._words, source, log_level=0, limits=limits)
        if matcher.is_error():
            raise UsageError(f"{kind}: {_short(matcher.get_error())}", where=kind)
        try:
            first = self._fresh(matcher)
            nothing = not (first.forced() or first.done or bool(first.allowed().any()))
        except PunaError as error:
            raise UsageError(f"{kind}: {error.what}", where=kind) from None
        if nothing:
            raise UsageError(f"{kind} allows nothing to be said", where=kind)
        return matcher


class GrammarConstraint:
    """A `puna.engine.request.Constraint` of one request.

    Args:
        matcher: of llguidance, its own from here on.
        vocab: of the model's logits.
        can_stop: whether the model has an id that ends an answer.

    Raises:
        PunaError: from every method, where the grammar came to an end that it cannot leave.
    """

    def __init__(self, matcher: Any, vocab: int, *, can_stop: bool) -> None:
        self._matcher = matcher
        self._vocab = vocab
        self._can_stop = can_stop
        self._bits = np.zeros(-(-(vocab + 1) // 32), dtype=np.int32)

    def allowed(self) -> Tensor:
        """See `Constraint.allowed`; ids that stop are among them where the grammar is complete."""
        size = self._bits.nbytes
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, size)
        self._check()
        bits = np.unpackbits(self._bits.view(np.uint8), count=self._vocab, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))

    def forced(self) -> Sequence[int]:
        """See `Constraint.forced`."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        self._check()
        return tokens

    def take(self, token: int) -> None:
        """See `Constraint.take`."""
        self._matcher.consume_token(token)
        self._check()

    @property
    def done(self) -> bool:
        """See `Constraint.done`."""
        if self._matcher.is_stopped():
            self._check()
            return True
        complete = not self._can_stop and self._matcher.is_accepting()
        return complete and not bool(self.allowed().any())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise PunaError(f"the form of the answer: {_short(self._matcher.get_error())}")


class _Words:
    """What llguidance asks of a tokenizer: the bytes of every id, and how a text is cut."""

    def __init__(self, tokenizer: Tokenizer, vocab: int, stops: Sequence[int]) -> None:
        self._encode = partial(tokenizer.encode, add_special=False, parse_special=False)
        self.is_tokenizer_wrapper = True
        self.bos_token_id = tokenizer.bos_id
        self.eos_token_id, self.eos_tokens = stops[0], list(stops)
        self.special_token_ids = sorted({*tokenizer.special_ids, *stops, vocab})
        known = [_bytes_of(tokenizer.bytes_of, token) for token in range(vocab)]
        self.tokens = [*known, b"<|end of the answer|>"]
        ordinary = set(range(vocab)).difference(self.special_token_ids)
        self._ids = {known[token]: token for token in sorted(ordinary, reverse=True)}
        self._longest = max(map(len, known), default=1)

    def __call__(self, text: str | bytes) -> list[int]:
        """Return the ids that the model's own tokenizer gives a text within a text."""
        data = text.encode() if isinstance(text, str) else text
        try:
            ids = self._encode(_UNMERGED + data.decode())
        except (TokenizerError, UnicodeDecodeError):
            return self._cut(data)
        left = len(data)
        for place in range(len(ids) - 1, -1, -1):
            left -= len(self.tokens[ids[place]]) if ids[place] < len(self.tokens) else left + 1
            if left <= 0:
                tail = ids[place:]
                same = left == 0 and b"".join(self.tokens[id] for id in tail) == data
                return tail if same else self._cut(data)
        return self._cut(data)

    def _cut(self, data: bytes) -> list[int]:
        """Return the longest ids that fit, one after the other; what none spells is left out."""
        ids, at = [], 0
        while at < len(data):
            for size in range(min(self._longest, len(data) - at), 0, -1):
                if (found := self._ids.get(data[at : at + size])) is not None:
                    ids.append(found)
                    at += size
                    break
            else:
                return ids
        return ids


_NAMES = {JsonSchema: "schema", Regex: "regex", Choice: "choice", Lark: "grammar"}


def _source(matcher: Any, grammar: Grammar) -> str:
    source: str
    if isinstance(grammar, JsonSchema):
        source = matcher.grammar_from_json_schema(grammar.text, overrides=_JSON)
    elif isinstance(grammar, Regex):
        source = matcher.grammar_from_regex(grammar.pattern)
    elif isinstance(grammar, Choice):
        source = matcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, grammar.texts)))
    else:
        source = matcher.grammar_from_lark(grammar.text)
    return source


def _bytes_of(bytes_of: Callable[[int], bytes], token: int) -> bytes:
    """Return the bytes of an id; none for one that the tokenizer does not have."""
    try:
        return bytes_of(token)
    except TokenizerError:
        return b""


def _short(error: object) -> str:
    """Return what llguidance says is wrong, on one line, without its inner state."""
    said = str(error).split("<state>")[0].split("<non-verbose/>")[0]
    if "NoExtensionBias" in said:
        return "the grammar allows nothing to be said here"
    if said.startswith("oneOf constraints are not supported"):
        return _OVERLAP
    return " ".join(said.split())[:300]


def _library() -> ModuleType:
    try:
        import llguidance
    except ImportError:
        raise UsageError(
            "answers of a given form need llguidance, which is not installed",
            remedy="pip install 'puna[structured]'",
        ) from None
    return llguidance
