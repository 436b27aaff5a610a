"""The joint of text and engine: `puna.load` and the `LanguageModel` it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from puna.adapter import merge
from puna.engine import Completion, Engine, Request, Sampling
from puna.errors import ContextError, PunaError, TemplateError, TokenizerError, UsageError
from puna.loading import DType, Parts, load_parts
from puna.model import Rows, Segments
from puna.spec import ModelSpec
from puna.text import ChatTemplate, StopWatch, TextStream, Tokenizer, save_template, save_tokenizer
from puna.weights import save_folder

Prompt = str | Sequence[int]
Message = Mapping[str, Any]

# Tokens that one-shot scoring runs through the decoder at a time.
_SCORE_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model said: text and ids without the prompt, and why it ended."""

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Score:
    """Log probabilities of a continuation, in nats; `greedy` tells if greedy would say it."""

    total: float
    tokens: tuple[float, ...]
    greedy: bool


@dataclass(frozen=True, slots=True)
class Options:
    """How to generate; the same fields for prompts and for chat.

    `temperature=0` is greedy and deterministic; otherwise `seed` makes a run repeatable. `stop`
    strings end the text and are not part of it. `top_k=0`, `top_p=1`, `min_p=0` and
    `repetition_penalty=1` switch these off.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: str | Sequence[str] | None = None
    seed: int | None = None

    def sampling(self) -> Sampling:
        """Return the part that the sampler reads."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class TextWatch:
    """Text of one request in the making; the engine asks it whether a stop string was met."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._stream = TextStream(tokenizer, prompt)
        self._stop = StopWatch(stops) if stops else None
        self._parts: list[str] = []
        self._taken = 0
        self._met = False

    def __call__(self, new_ids: Sequence[int]) -> bool:
        """Take new ids; return True where the request must end."""
        for token in new_ids:
            self._show(self._stream.push(token))
            if self._met:
                return True
        return False

    def take(self) -> str:
        """Return the text that became final since the last call."""
        parts = self._parts[self._taken :]
        self._taken += len(parts)
        return "".join(parts)

    def finish(self) -> str:
        """Release what was held back and return the text not yet taken."""
        if not self._met:
            self._show(self._stream.finish())
        if not self._met and self._stop:
            self._parts.append(self._stop.finish())
        self._met = True
        return self.take()

    def _show(self, text: str) -> None:
        if self._stop is None:
            self._parts.append(text)
            return
        shown, self._met = self._stop.push(text)
        self._parts.append(shown)


class LanguageModel:
    """A model that can be asked: made by `puna.load`.

    One thread at a time; a server drives `engine` from a thread of its own.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._slot = parts.adapter
        self._numbers = count(1)

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
        """The engine that generates, made on first use."""
        return Engine(self._parts.model, self.spec)

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of a prompt, with the special tokens its tokenizer adds."""
        if isinstance(prompt, str):
            return tuple(self._need_tokenizer().encode(prompt))
        return tuple(prompt)

    def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the ids of a conversation, up to where the assistant speaks next.

        Raises:
            TemplateError: the model has no chat template, or it cannot render these messages.
        """
        if self.template is None:
            raise TemplateError(
                "this model has no chat template",
                where=str(self._parts.source.path),
                remedy="use generate with a prompt, or put a chat_template.jinja in the folder",
            )
        tokenizer = self._need_tokenizer()
        return tuple(self.template.render_ids(messages, tokenizer=tokenizer))

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
            stop_ids=self._parts.text.specials.eos,
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
        return self._run([self.encode(prompt_or_ids)], _options(options, kw))[0]

    def stream(
        self, prompt_or_ids: Prompt, options: Options | None = None, **kw: Any
    ) -> Iterator[str]:
        """Continue a prompt and yield text as it becomes final; whole characters only."""
        return self._stream(self.encode(prompt_or_ids), _options(options, kw))

    def chat(
        self, messages: Sequence[Message], options: Options | None = None, **kw: Any
    ) -> Generation:
        """Answer a conversation, `[{"role": "user", "content": "…"}, …]`. See `generate`."""
        return self._run([self.render(messages)], _options(options, kw))[0]

    def chat_stream(
        self, messages: Sequence[Message], options: Options | None = None, **kw: Any
    ) -> Iterator[str]:
        """Answer a conversation and yield text as it becomes final."""
        return self._stream(self.render(messages), _options(options, kw))

    def chat_many(
        self, conversations: Sequence[Sequence[Message]], options: Options | None = None, **kw: Any
    ) -> list[Generation]:
        """Answer many conversations in one batch, in order."""
        prompts = [self.render(messages) for messages in conversations]
        return self._run(prompts, _options(options, kw))

    def generate_many(
        self, prompts: Sequence[Prompt], options: Options | None = None, **kw: Any
    ) -> list[Generation]:
        """Continue many prompts in one batch, in order."""
        return self._run([self.encode(p) for p in prompts], _options(options, kw))

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Return float32 logits [T, vocab] on the CPU for T ids, in one shot."""
        self._check(ids)
        model = self._parts.model
        return model.head(self._hidden([ids])).cpu()

    def score(self, prompt: Prompt, continuation: Prompt) -> Score:
        """Return how likely `continuation` is after `prompt`."""
        return self.score_many([(prompt, continuation)])[0]

    @torch.inference_mode()
    def score_many(self, pairs: Sequence[tuple[Prompt, Prompt]]) -> list[Score]:
        """Score many continuations, several to a pass. See `score`.

        Where both are text they are encoded together if the prompt's ids are a prefix of the
        whole, and one by one if not.
        """
        encoded = [self._pair(prompt, continuation) for prompt, continuation in pairs]
        scores: list[Score] = []
        for batch in _batches(encoded):
            scores.extend(self._score_batch(batch))
        return scores

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return one vector of unit length per text, [n, width] float32 on the CPU.

        The mean of the last hidden states over the text's tokens; the beginning-of-sequence
        token is left out where the text has others, since its state is the same for all.
        """
        rows = []
        for text in texts:
            ids = self.encode(text)
            self._check(ids)
            first = 1 if len(ids) > 1 and ids[0] == self._parts.text.specials.bos else 0
            rows.append(self._hidden([ids])[first:].float().mean(0))
        if not rows:
            return torch.empty(0, self.spec.width)
        return F.normalize(torch.stack(rows), dim=-1).cpu()

    def save(self, path: str | Path) -> None:
        """Write a folder that this package and others load: weights, config, text files.

        An adapter is merged into the weights first, in this model too.

        Raises:
            StorageError: the disk did not take it; what was there before is still there.
        """
        parts, folder = self._parts, Path(path)
        if self._slot is not None:
            merge(parts.model, self._slot)
            self._slot = None
        save_folder(parts.model, parts.table, folder, config=parts.config)
        if parts.text.tokenizer is not None:
            save_tokenizer(parts.text.tokenizer, folder)
        if parts.text.template is not None:
            save_template(parts.text.template, folder)

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

    def _hidden(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        model = self._parts.model
        rows = Rows(self._slot)
        ctx = Segments([len(s) for s in sequences], rows=rows, device=model.device)
        flat = torch.tensor([i for s in sequences for i in s], device=model.device)
        hidden: Tensor = model(flat, ctx.positions, ctx)
        return hidden

    def _pair(self, prompt: Prompt, continuation: Prompt) -> tuple[tuple[int, ...], int]:
        head = self.encode(prompt)
        if isinstance(prompt, str) and isinstance(continuation, str):
            whole = self.encode(prompt + continuation)
            if len(whole) > len(head) and whole[: len(head)] == head:
                return self._scorable(whole, len(head))
        if isinstance(continuation, str):
            tokenizer = self._need_tokenizer()
            tail = tuple(tokenizer.encode(continuation, add_special=False, parse_special=False))
        else:
            tail = tuple(continuation)
        return self._scorable(head + tail, len(head))

    def _scorable(self, ids: tuple[int, ...], start: int) -> tuple[tuple[int, ...], int]:
        self._check(ids)
        if start == 0 or start == len(ids):
            raise UsageError("scoring needs a prompt and a continuation of at least a token each")
        return ids, start

    def _score_batch(self, batch: Sequence[tuple[tuple[int, ...], int]]) -> list[Score]:
        model = self._parts.model
        hidden = self._hidden([ids for ids, _ in batch])
        scores, offset = [], 0
        for ids, start in batch:
            rows = hidden[offset + start - 1 : offset + len(ids) - 1]
            logits = model.head(rows)  # [continuation, vocab]
            said = torch.tensor(ids[start:], device=model.device)
            chosen = logits.log_softmax(-1).gather(1, said[:, None])[:, 0].tolist()
            greedy = bool((logits.argmax(-1) == said).all())
            scores.append(Score(sum(chosen), tuple(chosen), greedy))
            offset += len(ids)
        return scores

    def _run(self, prompts: Sequence[Sequence[int]], options: Options) -> list[Generation]:
        pairs = [self.request(prompt, options) for prompt in prompts]
        done = self.engine.run([request for request, _ in pairs])
        return [
            _generation(completion, watch)
            for completion, (_, watch) in zip(done, pairs, strict=True)
        ]

    def _stream(self, prompt: Sequence[int], options: Options) -> Iterator[str]:
        self._need_tokenizer()
        request, watch = self.request(prompt, options)
        assert watch is not None
        self.engine.submit(request)
        try:
            while not self.engine.idle:
                for event in self.engine.step():
                    if event.id != request.id:
                        continue
                    if event.completion is not None:
                        _raise_if_failed(event.completion)
                        if rest := watch.finish():
                            yield rest
                        return
                    if text := watch.take():
                        yield text
        finally:
            self.engine.cancel(request.id)


def load(
    model: str | Path = "cria",
    *,
    adapter: str | Path | None = None,
    dtype: DType = "auto",
    device: str = "auto",
    ignore_keys: Sequence[str] = (),
) -> LanguageModel:
    """Open a model folder, GGUF file or built-in name.

    Args:
        model: a folder with a config.json and weights, a GGUF file, or a built-in name.
        adapter: a LoRA folder in PEFT's layout.
        dtype: `auto` is the checkpoint's own, and bfloat16 for quantized weights (GGUF).
        device: `auto` is CUDA where there is some.
        ignore_keys: config keys to pass over although they are unknown.

    >>> import puna
    >>> lm = puna.load("cria")
    >>> lm.chat([{"role": "user", "content": "What is a baby llama called?"}], max_tokens=24).finish
    'stop'
    """
    return LanguageModel(
        load_parts(model, adapter=adapter, dtype=dtype, device=device, ignore_keys=ignore_keys)
    )


def _options(options: Options | None, fields: Mapping[str, Any]) -> Options:
    if options is not None and fields:
        raise UsageError("give options as a record or as keywords, not both")
    if options is not None:
        return options
    unknown = sorted(set(fields) - set(Options.__dataclass_fields__))
    if unknown:
        known = ", ".join(Options.__dataclass_fields__)
        raise UsageError(f"unknown option {unknown[0]!r}", remedy=f"known: {known}")
    return Options(**fields)


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


def _batches(
    encoded: Sequence[tuple[tuple[int, ...], int]],
) -> Iterator[list[tuple[tuple[int, ...], int]]]:
    batch: list[tuple[tuple[int, ...], int]] = []
    tokens = 0
    for item in encoded:
        if batch and tokens + len(item[0]) > _SCORE_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(item)
        tokens += len(item[0])
    if batch:
        yield batch
