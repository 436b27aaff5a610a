"""A model that can be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from puna.adapter import merge
from puna.engine import USUAL, Engine, Request, Sampling, cache_dtype
from puna.errors import TokenizerError, UsageError
from puna.generate.constrain import Grammars
from puna.generate.options import Generation, Options, Running, Score, options_of, seed_of
from puna.generate.prompts import Message, Prompt, Prompts, whole
from puna.generate.running import Runs
from puna.generate.score import score_pairs
from puna.loading import Parts
from puna.model import Rows, hidden_states
from puna.plan.check import cache_limit
from puna.saving import save_parts, seal_parts
from puna.spec import ModelSpec
from puna.text import ChatTemplate, TextWatch, Tokenizer

# Requests that run at once unless another number is stated; others wait.
_SEQUENCES = 64


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

    def __init__(self, parts: Parts, running: Running | None = None) -> None:
        self._parts = parts
        self._running = running or Running()
        self._slot = parts.adapter
        self._numbers = count(1)
        self._prompts = Prompts(parts)
        self._runs = Runs(lambda: self.engine)

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
        model, how = self._parts.model, self._running
        sequences = how.batch or _SEQUENCES
        tokens = cache_limit(
            self.spec,
            dtype=model.dtype,
            device=str(model.device),
            cache=how.cache,
            context=how.context,
            batch=how.batch,
            sequences=sequences,
            packing=self._parts.packing,
        )
        return Engine(
            model,
            self.spec,
            max_sequences=sequences,
            cache_tokens=tokens,
            cache_dtype=cache_dtype(how.cache, model.dtype),
            context=how.context,
            speculation=USUAL if how.speculation else None,
            deterministic=how.deterministic,
        )

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of a prompt, with the special tokens its tokenizer adds to text.

        Raises:
            TokenizerError: text, and this checkpoint has no tokenizer.
            UsageError: ids that are not whole numbers.
        """
        return self._prompts.encode(prompt)

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
        return self._prompts.render(messages, tools, template_options)

    @cached_property
    def _stop_ids(self) -> frozenset[int]:
        return self._parts.text.stop_ids

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._prompts.tokenizer(), self.spec.vocab, self._stop_ids)

    def turn_stops(self) -> tuple[str, ...]:
        """Return the texts that end an answer of a chat, as the template's format states them."""
        return () if self.template is None else self.template.stops

    def request(
        self, prompt_ids: Sequence[int], options: Options
    ) -> tuple[Request, TextWatch | None]:
        """Return a request for the engine, and the watch that turns its ids into text.

        Raises:
            UsageError: an option that cannot be meant, or a grammar that cannot be used.
            TokenizerError: text is to be watched or formed, and there is no tokenizer.
        """
        self._prompts.check_ids(prompt_ids)
        tokenizer, form = self.tokenizer, options.form()
        if tokenizer is None and options.stops():
            raise TokenizerError("stop strings need a tokenizer, and this checkpoint has none")
        watch = TextWatch(tokenizer, prompt_ids, options.stops()) if tokenizer else None
        request = Request(
            id=f"r{next(self._numbers)}",
            prompt_ids=tuple(prompt_ids),
            max_tokens=options.max_tokens,
            sampling=self._sampling(options),
            seed=options.seed,
            stop_ids=self._stop_ids,
            adapter=self._slot,
            watch=watch,
            logprobs=options.logprobs,
            top_logprobs=options.likeliest(),
            constraint=None if form is None else self._grammars.constraint(form),
            priority=options.priority,
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

    def samples(
        self, prompt_or_ids: Prompt, n: int, options: Options | None = None, **kw: Any
    ) -> list[Generation]:
        """Continue a prompt `n` times side by side; a seed repeats all of them, and they differ.

        See `generate`.
        """
        return self._samples(self.encode(prompt_or_ids), n, options_of(options, kw))

    def chat_samples(
        self, messages: Sequence[Message], n: int, options: Options | None = None, **kw: Any
    ) -> list[Generation]:
        """Answer a conversation `n` times side by side. See `samples` and `chat`."""
        return self._samples(self.render(messages), n, self._turn(options_of(options, kw)))

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
        ids = whole(ids)
        self._prompts.check(ids)
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
        encoded = [self._prompts.pair(prompt, continuation) for prompt, continuation in pairs]
        return score_pairs(self._parts.model, self.spec, encoded, self._slot)

    def label(self, prompt: Prompt, labels: Sequence[str]) -> dict[str, float]:
        """Return how likely each label is after `prompt`, among the labels alone.

        The prompt is computed once. A label that begins another is at least as likely as it: let
        both end alike, as with a full stop.

        Raises:
            ContextError, UsageError: as `score_many`; or no labels, or one twice.
        """
        if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
            raise UsageError("labels must be a list of different texts")
        totals = [score.total for score in self.score_many([(prompt, text) for text in labels])]
        shares = torch.tensor(totals, dtype=torch.float64).softmax(0)
        return dict(zip(labels, shares.tolist(), strict=True))

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
            self._prompts.check(ids)
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
            if "engine" in self.__dict__:  # what it keeps was computed with the old weights
                self.engine.forget()
        return save_parts(self._parts, Path(path), seal=seal)

    def _turn(self, options: Options) -> Options:
        """The options of an answer in a chat: the format's stop texts end it too."""
        stops = self.turn_stops()
        return replace(options, stop=(*options.stops(), *stops)) if stops else options

    def _run(self, prompts: Sequence[Sequence[int]], options: Options) -> list[Generation]:
        return self._runs.whole([self.request(prompt, options) for prompt in prompts])

    def _samples(self, prompt: Sequence[int], n: int, options: Options) -> list[Generation]:
        if type(n) is not int or n < 1:
            raise UsageError(f"n must be a whole number above 0, not {n!r:.40}")
        each = [replace(options, seed=seed_of(options.seed, index)) for index in range(n)]
        return self._runs.whole([self.request(prompt, one) for one in each])

    def _stream(self, prompt: Sequence[int], options: Options) -> Iterator[str]:
        self._prompts.tokenizer()
        request, watch = self.request(prompt, options)
        assert watch is not None
        yield from self._runs.stream(request, watch)

    def _sampling(self, options: Options) -> Sampling:
        sampling = options.sampling()
        strange = [id for id, _ in sampling.logit_bias if not 0 <= id < self.spec.vocab]
        if strange:
            raise UsageError(
                f"logit_bias: there is no token {strange[0]}; ids lie between 0 and "
                f"{self.spec.vocab - 1}",
                where="logit_bias",
            )
        return sampling
