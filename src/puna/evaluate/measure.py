"""A model on a task: all rows asked in batches, greedily; figures with intervals come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

import puna
from puna.errors import UsageError
from puna.evaluate.ask import Asker, Outcome
from puna.evaluate.prompts import last_question
from puna.evaluate.task import Row, Task
from puna.report import Metric, Report, bootstrap, wilson

if TYPE_CHECKING:
    from puna.generate import LanguageModel

Result = tuple[Row, Outcome]

_COMPARED = {
    "answer": "answers: equal to the expected one, outer whitespace aside",
    "choices": "choices: the likeliest; choices_norm: the likeliest per character",
    "pattern": "patterns: found anywhere in the answer",
    "continuation": "continuations: natural log, mean over tokens; greedy: all of it most likely",
}
_EXP_MAX = 700.0  # beyond, the perplexity is no float


def evaluate(
    lm: LanguageModel,
    task: Task,
    *,
    subject: str,
    max_tokens: int = 64,
    shots: Sequence[Row] = (),
    group_by: str | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    batch: int = 32,
) -> Report:
    """Score a model on a task, greedily.

    Metrics, where the task has such rows: `accuracy` over rows with answers, choices or patterns;
    `choices_norm`, with choices weighed per character; `nats_per_token`, `perplexity` and
    `greedy` over continuations. With `group_by` each stands once more per value of that key, as
    `accuracy: value`. A row that does not fit the context is wrong, is counted in
    `environment["too long"]`, and tells why in its sample; nothing is cut.

    Args:
        subject: what the report calls the model.
        max_tokens: the most tokens of a free answer. An answer to a text prompt also ends at a
            blank line.
        shots: examples shown before every row.
        group_by: a key of the rows.
        seed: of the intervals' resampling.
        on_progress: called with (rows done, rows in all).
        batch: rows asked at a time.

    Raises:
        UsageError: an argument that cannot be meant.
        PunaError: a row that this model cannot be asked, with its line.
    """
    if batch < 1 or max_tokens < 1:
        raise UsageError("batch and max_tokens must be at least 1")
    if group_by is not None and not any(group_by in row.groups for row in task.rows):
        known = ", ".join(sorted({key for row in task.rows for key in row.groups})) or "none"
        raise UsageError(f"no row has the key {group_by!r}", remedy=f"keys to group by: {known}")
    asker = Asker(lm, task, shots, max_tokens)
    results: list[Result] = []
    for start in range(0, len(task.rows), batch):
        rows = task.rows[start : start + batch]
        results += zip(rows, asker.ask(rows), strict=True)
        if on_progress:
            on_progress(len(results), len(task.rows))
    return Report(
        kind="evaluation",
        subject=subject,
        task=task.name,
        metrics=dict(_grouped(results, group_by, seed)),
        samples=tuple(_sample(row, outcome, group_by) for row, outcome in results),
        environment=_environment(lm, asker, results, group_by),
        seed=seed,
    )


def _grouped(
    results: Sequence[Result], group_by: str | None, seed: int
) -> Iterator[tuple[str, Metric]]:
    yield from _metrics(results, seed)
    if group_by is None:
        return
    groups: dict[str, list[Result]] = {}
    for row, outcome in results:
        groups.setdefault(_group(row, group_by), []).append((row, outcome))
    for value, members in groups.items():
        for name, metric in _metrics(members, seed):
            yield f"{name}: {value}", metric


def _metrics(results: Sequence[Result], seed: int) -> Iterator[tuple[str, Metric]]:
    judged = [outcome.right for row, outcome in results if row.kind != "continuation"]
    if judged:
        yield "accuracy", wilson(sum(judged), len(judged))
    by_length = [outcome.right_by_length for row, outcome in results if row.kind == "choices"]
    if by_length:
        yield "choices_norm", wilson(sum(by_length), len(by_length))
    weighed = [outcome for row, outcome in results if row.kind == "continuation"]
    if weighed:
        yield from _likelihood(weighed, seed)


def _likelihood(outcomes: Sequence[Outcome], seed: int) -> Iterator[tuple[str, Metric]]:
    known = [outcome for outcome in outcomes if not outcome.too_long]
    if known:
        rates = [outcome.nats / outcome.tokens for outcome in known]
        nats = bootstrap(rates, seed, weights=[outcome.tokens for outcome in known])
        yield "nats_per_token", nats
        if nats.high < _EXP_MAX:
            value, low, high = map(math.exp, (nats.value, nats.low, nats.high))
            yield "perplexity", Metric(value, nats.n, low, high)
    yield "greedy", wilson(sum(outcome.right for outcome in outcomes), len(outcomes))


def _sample(row: Row, outcome: Outcome, group_by: str | None) -> dict[str, Any]:
    expected = row.pattern.pattern if row.pattern else row.answer or row.continuation
    sample: dict[str, Any] = {
        "line": row.line,
        "input": last_question(row),
        "expected": expected,
        "said": outcome.said,
        "right": outcome.right,
    }
    if group_by is not None:
        sample["group"] = _group(row, group_by)
    if outcome.tokens:
        sample["nats per token"] = outcome.nats / outcome.tokens
    if outcome.too_long:
        sample["too long"] = outcome.too_long
    return sample


def _environment(
    lm: LanguageModel, asker: Asker, results: Sequence[Result], group_by: str | None
) -> Mapping[str, str]:
    kinds = {row.kind for row, _ in results}
    compared = [how for kind, how in _COMPARED.items() if kind in kinds]
    if any(isinstance(row.prompt, str) for row, _ in results) and kinds & {"answer", "pattern"}:
        compared.append("answers to text prompts end at a blank line")
    return {
        "puna": puna.__version__,
        "torch": torch.__version__,
        "dtype": str(lm.parts.model.dtype).removeprefix("torch."),
        "device": str(lm.parts.model.device),
        "decoding": f"greedy, at most {asker.max_tokens} tokens",
        "compared": "; ".join(compared),
        "shots": str(len(asker.shots)),
        "too long": str(sum(bool(outcome.too_long) for _, outcome in results)),
        **({"grouped by": group_by} if group_by is not None else {}),
    }


def _group(row: Row, key: str) -> str:
    return row.groups.get(key, "(none)")
