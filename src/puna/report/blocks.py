"""What a page is made of: records of content, without any markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from puna.report.record import Metric

# A bool is shown as a right or wrong mark; numbers stand on the right of their column.
Cell = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One large number with its name, and a note below it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures side by side."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A named line through (x, y) points; where one is not finite the line is broken."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class LinePlot:
    """Lines over one pair of axes."""

    series: tuple[Series, ...]
    x_label: str
    y_label: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics compared: a dot and the interval as a whisker, one row each.

    Where all are shares they are shown in percent. Names in `marked` stand out.
    """

    rows: Mapping[str, Metric]
    marked: frozenset[str] = frozenset()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, such as an environment."""

    facts: Mapping[str, str]


Block = Text | Figures | LinePlot | Scores | Table | Facts


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: tuple[Block, ...]
