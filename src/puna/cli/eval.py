"""`puna eval`: score a model on a task file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from puna.cli.opening import Opening
from puna.cli.show import bars, note, out, print_json


def eval_command(
    model: str,
    task: Path,
    *,
    max_tokens: int = 64,
    html: Path | None = None,
    opening: Opening | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Score a model on a task file.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name.
    task
        JSONL rows with `messages` or `prompt`, and `answer`, `choices` or `continuation`.
    max_tokens
        The most tokens of a free answer.
    html
        Write the report as a page here.
    json
        Print the report as one JSON object.
    """
    from puna.jobs import evaluate_file, report_page

    lm = (opening or Opening()).open(model)
    with bars() as bar:
        report = evaluate_file(
            lm,
            task,
            subject=model,
            max_tokens=max_tokens,
            on_progress=bar("scoring", "rows"),
        )
    if html:
        report_page(report, html)
        note(f"report: {html}")
    if json:
        print_json(report.to_json())
        return
    table = Table(title=f"{model} on {task.name}", title_justify="left")
    for column in ("metric", "value", "95 % interval", "rows"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, metric in report.metrics.items():
        table.add_row(
            name, f"{metric.value:.3f}", f"{metric.low:.3f} – {metric.high:.3f}", str(metric.n)
        )
    out.print(table)
