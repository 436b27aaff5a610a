"""Task files, what a model makes of them, and the baseline to beat; out comes a Report."""

from __future__ import annotations

from puna.evaluate.baseline import majority_baseline
from puna.evaluate.measure import evaluate
from puna.evaluate.task import Row, Task, read_task

__all__ = ["Row", "Task", "evaluate", "majority_baseline", "read_task"]
