"""What a model must beat: the commonest answer, said every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from puna.errors import UsageError
from puna.evaluate.task import Row, Task
from puna.report import Metric, wilson


def majority_baseline(train_rows: Sequence[Row], task: Task) -> Metric:
    """Return the accuracy of always saying the commonest answer of `train_rows`.

    Of answers that are equally common the first counts. Rows with a continuation are left out,
    as they are of a model's accuracy.

    Raises:
        UsageError: no answer to learn from, or no row that is right or wrong.
    """
    answers = Counter(row.answer.strip() for row in train_rows if row.answer is not None)
    if not answers:
        raise UsageError(
            "there is no answer to learn a baseline from", remedy="give rows that have answers"
        )
    ((said, _),) = answers.most_common(1)
    judged = [row for row in task.rows if row.kind != "continuation"]
    if not judged:
        raise UsageError(
            f"no row of {task.name} is right or wrong", remedy="give a task that has answers"
        )
    return wilson(sum(row.accepts(said) for row in judged), len(judged))
