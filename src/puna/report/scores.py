"""Scores compared, as inline SVG: a dot for the value, a whisker for its interval."""

from __future__ import annotations

from collections.abc import Iterator

from puna.report.blocks import Scores
from puna.report.markup import Markup, element
from puna.report.record import Metric
from puna.report.scale import Scale, tick_label, ticks

_WIDTH, _ROW = 760, 38
_LEFT, _RIGHT, _TOP, _BOTTOM = 190, 178, 8, 34
_NAME = 26  # characters of a name that fit beside the drawing


def score_chart(scores: Scores) -> Markup:
    """Return the chart, one row for each metric in the order given."""
    if not scores.rows:
        return element("p", "No scores to show.", class_="empty")
    metrics = scores.rows.values()
    share = all(metric.unit == "share" for metric in metrics)
    edges = [edge for m in metrics for edge in (m.low, m.high)]
    marks = tuple(i / 5 for i in range(6)) if share else ticks(edges)
    x = Scale(marks[0], marks[-1], _LEFT, _WIDTH - _RIGHT)
    base = _TOP + _ROW * len(scores.rows)
    drawing = element(
        "svg",
        *_axis(marks, x, base, share),
        *(
            _row(name, metric, x, _TOP + _ROW * (i + 0.5), name in scores.marked, share)
            for i, (name, metric) in enumerate(scores.rows.items())
        ),
        viewBox=f"0 0 {_WIDTH} {base + _BOTTOM}",
        role="img",
        aria_label=scores.caption or "scores with their 95 % intervals",
    )
    return element("div", drawing, class_="wide")


def spoken(value: float, *, share: bool) -> str:
    """Return a value as people read it: `86.5 %`, or four significant digits."""
    return f"{100 * value:.1f} %" if share else f"{value:.4g}"


def _axis(marks: tuple[float, ...], x: Scale, base: float, share: bool) -> Iterator[Markup]:
    step = marks[1] - marks[0]
    for mark in marks:
        place = x(mark)
        label = f"{100 * mark:.0f} %" if share else tick_label(mark, step)
        yield element("line", x1=place, x2=place, y1=_TOP, y2=base, class_="grid")
        yield element("text", label, x=place, y=base + 20, class_="tick middle")


def _row(name: str, metric: Metric, x: Scale, y: float, marked: bool, share: bool) -> Markup:
    low, value, high = (spoken(v, share=share) for v in (metric.low, metric.value, metric.high))
    hint = f"{name}: {value}, 95 % interval {low} to {high}, {metric.n} rows"
    short = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
    left, right = x(metric.low), x(metric.high)
    return element(
        "g",
        element("title", hint),
        element("rect", x=0, y=y - _ROW / 2, width=_WIDTH, height=_ROW, class_="hint"),
        element("text", short, x=_LEFT - 14, y=y + 4, class_="name end"),
        element("line", x1=left, x2=right, y1=y, y2=y, class_="whisker"),
        *(element("line", x1=e, x2=e, y1=y - 5, y2=y + 5, class_="whisker") for e in (left, right)),
        element("circle", cx=x(metric.value), cy=y, r=5.5, class_="dot"),
        element("text", value, x=_WIDTH - _RIGHT + 16, y=y + 4, class_="value"),
        element("text", f"{low} – {high}", x=_WIDTH, y=y + 4, class_="tick end"),
        class_="score marked" if marked else "score",
    )
