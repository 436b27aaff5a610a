"""The line plot, as inline SVG. Colors are classes: the page's style knows light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from puna.report.blocks import LinePlot, Series
from puna.report.markup import Markup, element, join
from puna.report.scale import Scale, tick_label, ticks

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 18, 14, 48
_COLORS = 6
_HINTS = 80  # points of one line that tell their values under the pointer

Point = tuple[float, float]


def line_plot(plot: LinePlot) -> Markup:
    """Return the plot with axes, ticks, labels and a legend."""
    points = [point for series in plot.series for point in _finite(series.points)]
    if not points:
        return element("p", "No points to show.", class_="empty")
    x_ticks, x = _across([x for x, _ in points])
    y_ticks = ticks(y for _, y in points)
    y = Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    drawing = element(
        "svg",
        *_y_axis(y_ticks, y),
        *_x_axis(x_ticks, x),
        *_labels(plot),
        *(_line(series, i, x, y) for i, series in enumerate(plot.series)),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=plot.caption or f"{plot.y_label} over {plot.x_label}",
    )
    legend = [
        element("span", element("i", class_=f"key c{i % _COLORS}"), series.name)
        for i, series in enumerate(plot.series)
    ]
    return join([element("div", *legend, class_="legend"), element("div", drawing, class_="wide")])


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if all(map(math.isfinite, point))]


def _across(values: Sequence[float]) -> tuple[tuple[float, ...], Scale]:
    """Ticks and scale of x: from edge to edge of the data, or around a single value."""
    marks = ticks(values, 7)
    low, high = min(values), max(values)
    inside = tuple(mark for mark in marks if low <= mark <= high)
    if len(inside) < 2:
        inside, low, high = marks, marks[0], marks[-1]
    return inside, Scale(low, high, _LEFT, _WIDTH - _RIGHT)


def _y_axis(marks: tuple[float, ...], y: Scale) -> Iterator[Markup]:
    step = marks[1] - marks[0]
    for mark in marks:
        place = y(mark)
        yield element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=place, y2=place, class_="grid")
        label = tick_label(mark, step)
        yield element("text", label, x=_LEFT - 8, y=place + 4, class_="tick end")


def _x_axis(marks: tuple[float, ...], x: Scale) -> Iterator[Markup]:
    step = marks[1] - marks[0]
    base = _HEIGHT - _BOTTOM
    yield element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=base, y2=base, class_="axis")
    for mark in marks:
        place = x(mark)
        yield element("line", x1=place, x2=place, y1=base, y2=base + 5, class_="axis")
        yield element("text", tick_label(mark, step), x=place, y=base + 20, class_="tick middle")


def _labels(plot: LinePlot) -> Iterator[Markup]:
    center, middle = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    yield element("text", plot.x_label, x=center, y=_HEIGHT - 8, class_="label middle")
    yield element(
        "text",
        plot.y_label,
        x=14,
        y=middle,
        transform=f"rotate(-90 14 {middle:g})",
        class_="label middle",
    )


def _line(series: Series, index: int, x: Scale, y: Scale) -> Markup:
    parts = []
    for whole, run in groupby(series.points, key=lambda p: all(map(math.isfinite, p))):
        if not whole:
            continue
        places = [(x(a), y(b)) for a, b in run]
        if len(places) == 1:
            parts.append(element("circle", cx=places[0][0], cy=places[0][1], r=3, class_="dot"))
        else:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            parts.append(element("polyline", points=path, class_="line"))
    points = _finite(series.points)
    for a, b in points[:: max(1, math.ceil(len(points) / _HINTS))]:
        hint = element("title", f"{series.name}: {b:.4g} at {a:,.6g}")
        parts.append(element("circle", hint, cx=x(a), cy=y(b), r=6, class_="hint"))
    return element("g", *parts, class_=f"c{index % _COLORS}")
