"""One page in one file: no script, no request, light and dark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from puna.report.blocks import Block, Cell, Facts, Figures, LinePlot, Scores, Section, Table, Text
from puna.report.markup import Markup, element, escape, join
from puna.report.plot import line_plot
from puna.report.record import Metric, Report
from puna.report.scores import score_chart, spoken

_SHOWN = 60  # samples of a report on its page; its JSON has all
_CELL = 1200  # characters of a sample's text on the page


def render_html(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """Return a self-contained page; all text in it is escaped.

    Write it as UTF-8. It has no script and makes no request, and says so to the browser.
    """
    head = join(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            Markup(
                '<meta http-equiv="Content-Security-Policy" '
                "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            ),
            element("title", title),
            Markup(f"<style>\n{_style()}</style>"),
        ]
    )
    header = element(
        "header", element("h1", title), element("p", subtitle) if subtitle else Markup("")
    )
    body = [
        element("section", element("h2", section.heading), *map(_block, section.blocks))
        for section in sections
    ]
    page = element("main", header, *body)
    return (
        '<!doctype html>\n<html lang="en">\n'
        f"<head>{head}</head>\n<body>\n{page}\n</body>\n</html>\n"
    )


def to_html(report: Report) -> str:
    """Return the page of one report: its figures, samples and environment."""
    shares = {name: metric for name, metric in report.metrics.items() if metric.unit == "share"}
    chart = Scores(shares, caption="Dot: value. Whisker: 95 % interval.")
    scores = (*((chart,) if shares else ()), _metric_table(report.metrics))
    facts = {**report.environment, "seed": str(report.seed)}
    sections = [
        Section("Scores", scores),
        *([Section("Samples", _samples(report))] if report.samples else ()),
        Section("Environment", (Facts(facts),)),
    ]
    return render_html(f"{report.subject} on {report.task}", sections, subtitle=report.kind)


@cache
def _style() -> str:
    return files("puna.report").joinpath("style.css").read_text("utf-8")


def _metric_table(metrics: Mapping[str, Metric]) -> Table:
    def row(name: str, metric: Metric) -> tuple[Cell, ...]:
        value, low, high = (
            spoken(figure, share=metric.unit == "share")
            for figure in (metric.value, metric.low, metric.high)
        )
        return name, value, f"{low} – {high}", metric.n

    rows = tuple(row(name, metric) for name, metric in metrics.items())
    return Table(("Metric", "Value", "95 % interval", "Rows"), rows)


def _samples(report: Report) -> tuple[Block, ...]:
    names = list(dict.fromkeys(name for row in report.samples for name in row))
    shown = report.samples[:_SHOWN]
    left = len(report.samples) - len(shown)
    rows = tuple(tuple(_cell(row.get(name)) for name in names) for row in shown)
    note = f"The first {len(shown)} of {len(report.samples)}." if left else ""
    return (Table(tuple(names), rows, note),)


def _cell(value: Any) -> Cell:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CELL else f"{text[:_CELL]} … ({len(text) - _CELL} more)"


def _block(block: Block) -> Markup:
    match block:
        case Text():
            return element("p", block.text)
        case Figures():
            return _figures(block)
        case LinePlot():
            return _captioned(line_plot(block), block.caption)
        case Scores():
            return _captioned(score_chart(block), block.caption)
        case Table():
            return _captioned(element("div", _table(block), class_="wide"), block.caption)
        case Facts():
            pairs = [
                element("div", element("dt", name), element("dd", text))
                for name, text in block.facts.items()
            ]
            return element("dl", *pairs)


def _captioned(drawing: Markup, caption: str) -> Markup:
    note = element("figcaption", caption) if caption else Markup("")
    return element("figure", drawing, note)


def _figures(block: Figures) -> Markup:
    tiles = [
        element(
            "div",
            element("span", figure.name, class_="name"),
            element("strong", figure.value),
            element("span", figure.note, class_="note"),
        )
        for figure in block.figures
    ]
    return element("div", *tiles, class_="figures")


def _table(table: Table) -> Markup:
    head = element("tr", *(element("th", name, scope="col") for name in table.headings))
    rows = [element("tr", *map(_td, row)) for row in table.rows]
    return element("table", element("thead", head), element("tbody", *rows))


def _td(cell: Cell) -> Markup:
    if isinstance(cell, bool):
        mark, word = ("✓", "right") if cell else ("✗", "wrong")
        return element("td", element("span", mark, class_=word, title=word), class_="mark")
    if isinstance(cell, float):
        shown = f"{cell:.4g}" if math.isfinite(cell) else str(cell)
        return element("td", shown, class_="number")
    if isinstance(cell, int):
        return element("td", f"{cell:,}", class_="number")
    return element("td", escape(cell))
