"""`puna eval`: score a model on a task file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from puna.cli.opening import Opening
from puna.cli.show import bars, note, out, print_json

if TYPE_CHECKING:
    from puna.report import Report


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
        JSONL rows: `messages` or `prompt`, and `answer`, `choices`, `pattern` or `continuation`.
    max_tokens
        The most tokens of a free answer.
    html
        Write the report as a page here.
    json
        Print the report as one JSON object.
    """
    from puna.evaluate import evaluate, read_task
    from puna.jobs import check_page, report_page

    rows = read_task(task)
    if html:
        check_page(html)
    lm = (opening or Opening()).open(model)
    with bars() as bar:
        update = bar("scoring", "rows")
        update(0)
        report = evaluate(
            lm, rows, subject=model, max_tokens=max_tokens, batch=8, on_progress=update
        )
    if json:
        print_json(report.to_json())
    else:
        _show(report)
    if html:  # last: a page that cannot be written must not take the figures with it
        report_page(report, html)
        note(f"report: {html}")


def _show(report: Report) -> None:
    table = Table(title=Text(f"{report.subject} on {report.task}"), title_justify="left")
    for column in ("metric", "value", "95 % interval", "rows"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, metric in report.metrics.items():
        table.add_row(
            name, f"{metric.value:.3f}", f"{metric.low:.3f} – {metric.high:.3f}", str(metric.n)
        )
    out.print(table)
