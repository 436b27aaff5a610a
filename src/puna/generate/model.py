"""A model that can be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from puna.adapter import merge
from puna.engine import Completion, Engine, Request
from puna.errors import ContextError, PunaError, TemplateError, TokenizerError, UsageError
from puna.generate.options import Generation, Limits, Options, Score, options_of
from puna.generate.score import Pair, score_pairs, shared_start
from puna.loading import Parts
from puna.model import Rows, hidden_states
from puna.plan.check import cache_limit
from puna.saving import save_parts, seal_parts
from puna.spec import ModelSpec
from puna.text import (
    ChatTemplate,
    TextWatch,
    Tokenizer,
    format_names,
)

# Requests that run at once unless another number is stated; others wait.
_SEQUENCES = 64

Prompt = str | Sequence[int]
Message = Mapping[str, Any]


class LanguageModel:
    """A model that can be asked: made by `puna.load`.

    One thread at a time; a server drives `engine` from a thread of its own.

    >>> import puna
    >>> lm = puna.load("cria")
    >>> done = lm.generate("The llama", max_tokens=4)  # greedy
    >>> done.ids == lm.generate(lm.encode("The llama"), max_tokens=4).ids
    True
    >>> "".join(lm.stream("The llama", max_tokens=4)) == done.text
    True
    >>> score = lm.score(lm.encode("The llama"), done.ids)
    >>> len(score.tokens) == len(done.ids), score.greedy, score.total == sum(score.tokens)
    (True, True, True)
    >>> tuple(lm.logits([1, 5, 9]).shape) == (3, lm.spec.vocab)
    True
    >>> tuple(lm.embed(["a llama", "a fox"]).shape) == (2, lm.spec.width)
    True
    """

    def __init__(self, parts: Parts, limits: Limits | None = None) -> None:
        self._parts = parts
        self._limits = limits or Limits()
        self._slot = parts.adapter
        self._numbers = count(1)
        self._ended: dict[str, Completion] = {}  # by request, until its own caller takes it

    @property
    def spec(self) -> ModelSpec:
        """The decoder's axes."""
        return self._parts.spec

    @property
    def parts(self) -> Parts:
        """The opened pieces, for tuning."""
        return self._parts

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, or None where the checkpoint has none."""
        return self._parts.text.tokenizer

    @property
    def template(self) -> ChatTemplate | None:
        """The chat template, or None where the checkpoint has none."""
        return self._parts.text.template

    @cached_property
    def engine(self) -> Engine:
        """The engine that generates, made on first use; its cache is what memory has room for."""
        model, limits = self._parts.model, self._limits
        sequences = limits.batch or _SEQUENCES
        tokens = cache_limit(
            self.spec,
            dtype=model.dtype,
            device=str(model.device),
            context=limits.context,
            batch=limits.batch,
            sequences=sequences,
        )
        return Engine(
            model,
            self.spec,
            max_sequences=sequences,
            cache_tokens=tokens,
            context=limits.context,
        )

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of a prompt, with the special tokens its tokenizer adds to text.

        Raises:
            TokenizerError: text, and this checkpoint has no tokenizer.
            UsageError: ids that are not whole numbers.
        """
        if isinstance(prompt, str):
            return tuple(self._need_tokenizer().encode(prompt))
        return _whole(prompt)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> tuple[int, ...]:
        """Return the ids of a conversation, up to where the assistant speaks next.

        Args:
            messages, tools: as the OpenAI API writes them.
            template_options: what else the template looks at, such as `enable_thinking`.

        Raises:
            TemplateError: the model has no chat template, or it cannot render these messages.
        """
        template, tokenizer = self._need_template(), self._need_tokenizer()
        return tuple(
            template.render_ids(
                self._led(messages),
                tools=tools,
                options=template_options or {},
                tokenizer=tokenizer,
            )
        )

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        return self._parts.text.stop_ids

    def turn_stops(self) -> tuple[str, ...]:
        """Return the texts that end an answer of a chat, as the template's format states them."""
        return () if self.template is None else self.template.stops

    def _led(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Put what Ollama's store says before every conversation first, as Ollama does."""
        stored = self._parts.source.ollama
        if stored is None or not isinstance(messages, Sequence):
            return messages
        first = messages[0] if messages else {}
        has_one = isinstance(first, Mapping) and first.get("role") in ("system", "developer")
        lead = messages[:1] if has_one else []
        if not has_one and stored.system:
            lead = [{"role": "system", "content": stored.system}]
        return [*lead, *stored.messages, *messages[1 if has_one else 0 :]]

    def request(
        self, prompt_ids: Sequence[int], options: Options
    ) -> tuple[Request, TextWatch | None]:
        """Return a request for the engine, and the watch that turns its ids into text."""
        self._check_ids(prompt_ids)
        tokenizer = self.tokenizer
        if tokenizer is None and options.stops():
            raise TokenizerError("stop strings need a tokenizer, and this checkpoint has none")
        watch = TextWatch(tokenizer, prompt_ids, options.stops()) if tokenizer else None
        request = Request(
            id=f"r{next(self._numbers)}",
            prompt_ids=tuple(prompt_ids),
            max_tokens=options.max_tokens,
            sampling=options.sampling(),
            seed=options.seed,
            stop_ids=self._stop_ids,
            adapter=self._slot,
            watch=watch,
        )
        return request, watch

    def generate(
        self, prompt_or_ids: Prompt, options: Options | None = None, **kw: Any
    ) -> Generation:
        """Continue a prompt.

        Args:
            prompt_or_ids: text, or ids as they are (nothing is added).
            options: how, as a record; or give the fields of `Options` as keywords.

        Raises:
            ContextError: the prompt does not fit the model's context.
            UsageError: an option that cannot be meant.
        """
        return self._run([self.encode(prompt_or_ids)], options_of(options, kw))[0]

    def stream(
        self, prompt_or_ids: Prompt, options: Options | None = None, **kw: Any
    ) -> Iterator[str]:
        """Continue a prompt and yield text as it becomes final; whole characters only."""
        return self._stream(self.encode(prompt_or_ids), options_of(options, kw))

    def chat(
        self,
        messages: Sequence[Message],
        options: Options | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
        **kw: Any,
    ) -> Generation:
        """Answer a conversation, `[{"role": "user", "content": "…"}, …]`.

        See `generate` for `options`, and `render` for `tools` and `template_options`.
        """
        prompt = self.render(messages, tools=tools, template_options=template_options)
        return self._run([prompt], self._turn(options_of(options, kw)))[0]

    def chat_stream(
        self,
        messages: Sequence[Message],
        options: Options | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
        **kw: Any,
    ) -> Iterator[str]:
        """Answer a conversation and yield text as it becomes final. See `chat`."""
        prompt = self.render(messages, tools=tools, template_options=template_options)
        return self._stream(prompt, self._turn(options_of(options, kw)))

    def chat_many(
        self, conversations: Sequence[Sequence[Message]], options: Options | None = None, **kw: Any
    ) -> list[Generation]:
        """Answer many conversations in one batch, in order."""
        prompts = [self.render(messages) for messages in conversations]
        return self._run(prompts, self._turn(options_of(options, kw)))

    def generate_many(
        self, prompts: Sequence[Prompt], options: Options | None = None, **kw: Any
    ) -> list[Generation]:
        """Continue many prompts in one batch, in order."""
        return self._run([self.encode(p) for p in prompts], options_of(options, kw))

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Return float32 logits [T, vocab] on the CPU for T ids, in one shot.

        Raises:
            ContextError: more ids than the context holds.
            UsageError: no ids, or ids outside the vocabulary.
        """
        ids = _whole(ids)
        self._check(ids)
        model = self._parts.model
        return model.head(hidden_states(model, [ids], self._slot), Rows(self._slot)).cpu()

    def score(self, prompt: Prompt, continuation: Prompt) -> Score:
        """Return how likely `continuation` is after `prompt`. See `score_many`."""
        return self.score_many([(prompt, continuation)])[0]

    @torch.inference_mode()
    def score_many(self, pairs: Sequence[tuple[Prompt, Prompt]]) -> list[Score]:
        """Score many continuations, several to a pass; log probabilities in nats.

        Where both are text they are encoded together, as the model has seen text; a token on
        their border, such as a word after a prompt that ends in a space, is the continuation's.

        Raises:
            ContextError: a pair that is longer than the context.
            UsageError: a prompt or a continuation without a token.
        """
        encoded = [self._pair(prompt, continuation) for prompt, continuation in pairs]
        return score_pairs(self._parts.model, encoded, self._slot)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return one vector of unit length per text, [n, width] float32 on the CPU.

        The mean of the last hidden states over the text's tokens; the beginning-of-sequence
        token is left out where the text has others, since its state is the same for all.

        Raises:
            ContextError, UsageError, TokenizerError: a text that is too long, that has no tokens
                or that cannot be encoded; or one text instead of a list.
        """
        if isinstance(texts, str):
            raise UsageError("embed takes a list of texts", remedy="put the text in a list")
        rows = []
        for text in texts:
            ids = self.encode(text)
            self._check(ids)
            first = 1 if len(ids) > 1 and ids[0] == self._parts.text.specials.bos else 0
            states = hidden_states(self._parts.model, [ids], self._slot)
            rows.append(states[first:].float().mean(0))
        if not rows:
            return torch.empty(0, self.spec.width)
        return F.normalize(torch.stack(rows), dim=-1).cpu()

    def save(self, path: str | Path) -> tuple[str, ...]:
        """Write a folder that this package and others load: weights, config, text files, seal.

        An adapter is merged into the weights first, in this model too. What was written is opened
        and held against this model; returned is, in words, how far it drifts, if it does.

        Raises:
            StorageError: the disk did not take it; what was there before is still there.
            SealError: what was written does not do what this model does.
        """
        seal = seal_parts(self._parts)
        if self._slot is not None:
            merge(self._parts.model, self._slot)
            self._slot, self._parts = None, replace(self._parts, adapter=None)
        return save_parts(self._parts, Path(path), seal=seal)

    def _turn(self, options: Options) -> Options:
        """The options of an answer in a chat: the format's stop texts end it too."""
        stops = self.turn_stops()
        return replace(options, stop=(*options.stops(), *stops)) if stops else options

    def _need_template(self) -> ChatTemplate:
        if self.template is None:
            raise TemplateError(
                "this model has no chat template",
                where=str(self._parts.source.path),
                remedy="choose its published format by name, as in puna.load(…, template='vicuna') "
                f"or --template vicuna: {', '.join(format_names())}",
            )
        return self.template

    def _need_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise TokenizerError(
                "this checkpoint has no tokenizer",
                where=str(self._parts.source.path),
                remedy="pass ids instead of text, or put its tokenizer files in the folder",
            )
        return self.tokenizer

    def _check_ids(self, ids: Sequence[int]) -> None:
        if not ids:
            raise UsageError("the prompt is empty", remedy="give at least one token")
        if not 0 <= min(ids) <= max(ids) < self.spec.vocab:
            raise UsageError(f"ids must lie between 0 and {self.spec.vocab - 1}")

    def _check(self, ids: Sequence[int]) -> None:
        self._check_ids(ids)
        if len(ids) > self.spec.context:
            raise ContextError(prompt_tokens=len(ids), max_tokens=0, context=self.spec.context)

    def _pair(self, prompt: Prompt, continuation: Prompt) -> Pair:
        head = self.encode(prompt)
        if isinstance(prompt, str) and isinstance(continuation, str):
            whole = self.encode(prompt + continuation)
            same = shared_start(head, whole)
            if 0 < same < len(whole):
                return self._scorable(whole, same)
        if isinstance(continuation, str):
            tokenizer = self._need_tokenizer()
            tail = tuple(tokenizer.encode(continuation, add_special=False, parse_special=False))
        else:
            tail = _whole(continuation)
        return self._scorable(head + tail, len(head))

    def _scorable(self, ids: tuple[int, ...], start: int) -> Pair:
        self._check(ids)
        if start == 0 or start == len(ids):
            raise UsageError("scoring needs a prompt and a continuation of at least a token each")
        return ids, start

    def _run(self, prompts: Sequence[Sequence[int]], options: Options) -> list[Generation]:
        pairs = [self.request(prompt, options) for prompt in prompts]
        ids = [request.id for request, _ in pairs]
        try:
            for request, _ in pairs:
                self.engine.submit(request)
            while not all(id in self._ended for id in ids):
                self._step()
            return [
                _generation(self._ended[id], watch)
                for id, (_, watch) in zip(ids, pairs, strict=True)
            ]
        finally:
            self._forget(ids)

    def _stream(self, prompt: Sequence[int], options: Options) -> Iterator[str]:
        self._need_tokenizer()
        request, watch = self.request(prompt, options)
        assert watch is not None
        self.engine.submit(request)
        try:
            while request.id not in self._ended:
                self._step()
                if text := watch.take():
                    yield text
            _raise_if_failed(self._ended[request.id])
            if rest := watch.finish():
                yield rest
        finally:
            self._forget([request.id])

    def _step(self) -> None:
        """Advance every request; what ended waits for its caller, who may be a stream elsewhere."""
        for event in self.engine.step():
            if event.completion is not None:
                self._ended[event.id] = event.completion

    def _forget(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.engine.cancel(id)
            self._ended.pop(id, None)


def _whole(ids: Sequence[int]) -> tuple[int, ...]:
    """Return ids as plain numbers; those of a tensor or an array count too."""
    try:
        return tuple(index(i) for i in ids)
    except TypeError as error:
        raise UsageError(
            "ids must be a list of whole numbers", remedy="encode text with lm.encode first"
        ) from error


def _generation(completion: Completion, watch: TextWatch | None) -> Generation:
    _raise_if_failed(completion)
    return Generation(
        text=watch.finish() if watch else "",
        ids=completion.token_ids,
        finish="stop" if completion.finish == "stop" else "length",
        prompt_tokens=completion.usage.prompt_tokens,
        seconds=completion.timing.total,
    )


def _raise_if_failed(completion: Completion) -> None:
    if completion.finish == "error":
        raise PunaError(completion.error or "the request failed")
