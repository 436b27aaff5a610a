"""Report: what evaluations return, its figures with intervals, and its page (no torch)."""

from __future__ import annotations

from puna.report.blocks import (
    Block,
    Facts,
    Figure,
    Figures,
    LinePlot,
    Scores,
    Section,
    Series,
    Table,
    Text,
)
from puna.report.intervals import bootstrap, wilson
from puna.report.page import render_html, to_html
from puna.report.record import Metric, Report

__all__ = [
    "Block",
    "Facts",
    "Figure",
    "Figures",
    "LinePlot",
    "Metric",
    "Report",
    "Scores",
    "Section",
    "Series",
    "Table",
    "Text",
    "bootstrap",
    "render_html",
    "to_html",
    "wilson",
]
