"""From the figures of bench/engine.py to its page: medians, spread, ratios, goals. No measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a case: one value a repeat, in the unit of the case, or why there is none."""

    case: str
    what: str
    tool: str
    format: str
    values: tuple[float, ...]
    facts: Mapping[str, float]
    missing: str | None = None

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Heading:
    """A case as the page has it: title, unit, whether more is better, and what is done."""

    title: str
    unit: str
    more: bool
    text: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as good one is as another: over the repeats, median, least and most."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f}× ({self.least:.2f}–{self.most:.2f})"


class NotMeasuredError(Exception):
    """A goal that no figure stands for, and why."""


def ratio(ours: Row, theirs: Row, *, more: bool) -> Ratio:
    """Return how many times as good `ours` is, repeat by repeat, since the two were interleaved.

    Raises:
        NotMeasuredError: one of the two has no figures.
    """
    for row in (ours, theirs):
        if not row.values:
            raise NotMeasuredError(f"{row.tool} {row.format}: {row.missing}")
    pairs = zip(ours.values, theirs.values, strict=True)
    every = [a / b if more else b / a for a, b in pairs]
    return Ratio(median(every), min(every), max(every))


def pick(rows: Sequence[Row], case: str, tool: str, format: str) -> Row:
    """Return the row of a case that has one.

    Raises:
        NotMeasuredError: it was not asked for.
    """
    for row in rows:
        if (row.case, row.tool, row.format) == (case, tool, format):
            return row
    raise NotMeasuredError(f"{tool} {format} was not in this run")


@dataclass(frozen=True, slots=True)
class Against:
    """A goal's score: Puna in a format against the best of some peers."""

    case: str
    format: str
    peers: tuple[tuple[str, str], ...]
    more: bool = True

    def __call__(self, rows: Sequence[Row]) -> Ratio:
        """Return it; peers without figures are passed over if one has some."""
        ours = pick(rows, self.case, "puna", self.format)
        found = [r for r in rows if r.case == self.case and (r.tool, r.format) in self.peers]
        having = [row for row in found if row.values]
        if not having:
            why = [f"{row.tool} {row.format}: {row.missing}" for row in found]
            raise NotMeasuredError("; ".join(why) or "no peer was in this run")
        best = (max if self.more else min)(having, key=lambda row: row.middle)
        return ratio(ours, best, more=self.more)


def room_left(rows: Sequence[Row], format: str) -> Ratio:
    """Return by how much the peak stays within 1.1 × (weights + cache) + 250 MB: 1 just does."""
    row = pick(rows, "memory", "puna", format)
    if not row.values:
        raise NotMeasuredError(f"puna {format}: {row.missing}")
    bound = 1.1 * (row.facts["weights"] + row.facts["cache"]) + 250
    every = [bound / value for value in row.values]
    return Ratio(median(every), min(every), max(every))


def growth(rows: Sequence[Row], format: str) -> Ratio:
    """Return growth of the bytes that a token reads over growth of its time, the worst context.

    The bytes are weights, and keys and values; both growths are from the shortest context on.
    1 and more: a token's time grows no faster than what it reads.
    """
    mine = [r for r in rows if (r.case, r.tool, r.format) == ("context", "puna", format)]
    if not mine or any(not row.values for row in mine):
        raise NotMeasuredError(mine[-1].missing or "a context is missing" if mine else "not run")
    first, *others = sorted(mine, key=lambda row: row.facts["cache"])
    if not others:
        raise NotMeasuredError("only one context was measured")

    def at(row: Row) -> list[float]:
        more = _read(row) / _read(first)
        return [more * a / b for a, b in zip(first.values, row.values, strict=True)]

    worst = min((at(row) for row in others), key=median)
    return Ratio(median(worst), min(worst), max(worst))


def _read(row: Row) -> float:
    return row.facts["weights"] + row.facts["cache"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio of a case is to reach, and what it is better to reach."""

    case: str
    figure: str
    least: float
    stretch: float | None
    score: Callable[[Sequence[Row]], Ratio]


_OTHERS8 = (("transformers", "bf16"), ("openvino", "Q8_0"))
_OTHERS4 = (("transformers", "bf16"), ("openvino", "Q4_0"))
_BEST = (*_OTHERS8, ("openvino", "Q4_0"))
_Q8, _Q4 = (("llama.cpp", "Q8_0"),), (("llama.cpp", "Q4_0"),)
GOALS = (
    Goal("prefill", "int8 / llama.cpp Q8_0", 2.5, 4.0, Against("prefill", "int8", _Q8)),
    Goal("prefill", "int8 / best of the others", 1.1, 1.7, Against("prefill", "int8", _BEST)),
    Goal("decode", "int8 / llama.cpp Q8_0", 0.9, 1.0, Against("decode", "int8", _Q8)),
    Goal("decode", "int4 / llama.cpp Q4_0", 0.85, 1.0, Against("decode", "int4", _Q4)),
    Goal("decode", "int8 / best of the others", 1.7, None, Against("decode", "int8", _OTHERS8)),
    Goal("decode", "int4 / best of the others", 1.7, None, Against("decode", "int4", _OTHERS4)),
    Goal("repeat", "int8 / llama.cpp Q8_0", 1.5, 2.5, Against("repeat", "int8", _Q8)),
    Goal("batch", "int8 / llama.cpp Q8_0", 1.3, 2.0, Against("batch", "int8", _Q8)),
    Goal("prefix", "int8 / llama.cpp Q8_0", 5.0, None, Against("prefix", "int8", _Q8, False)),
    Goal("cria", "int8 / llama.cpp Q8_0", 0.7, 1.2, Against("cria", "int8", _Q8)),
    Goal("memory", "int8: bound / peak", 1.0, None, partial(room_left, format="int8")),
    Goal("load", "int8 / llama.cpp Q8_0", 1 / 1.5, 1.0, Against("load", "int8", _Q8, False)),
    Goal("context", "int8: bytes / time", 1.0, None, partial(growth, format="int8")),
)


def verdict(goal: Goal, rows: Sequence[Row]) -> tuple[str, str]:
    """Return the ratio of a goal, and what it comes to, in words."""
    try:
        found = goal.score(rows)
    except NotMeasuredError as error:
        return "–", f"not measured: {error}"
    if goal.stretch is not None and found.middle >= goal.stretch:
        return str(found), "stretch reached"
    if found.middle >= goal.least:
        return str(found), "reached"
    return str(found), f"missed, {1 - found.middle / goal.least:.0%} short"


def number(value: float) -> str:
    """Return a figure with three digits that count, whole above a hundred."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def goals_table(headings: Mapping[str, Heading], rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table of goals, those of these cases."""
    lines = ["| Case | Puna / peer | | goal | stretch | |", "|---|---|--:|--:|--:|---|"]
    for goal in (goal for goal in GOALS if goal.case in headings):
        found, said = verdict(goal, rows)
        stretch = "–" if goal.stretch is None else f"{goal.stretch:.2f}×"
        title, said = headings[goal.case].title, said.replace("|", "/")
        cells = [title, goal.figure, found, f"{goal.least:.2f}×", stretch, said]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def case_table(heading: Heading, rows: Sequence[Row]) -> list[str]:
    """Return the lines of a case: figures, and Puna's ratio to each in each of its formats."""
    formats = list(dict.fromkeys(row.format for row in rows if row.tool == "puna"))
    names = ["Tool", "format", "", heading.unit, "min – max", *(f"Puna {f} is" for f in formats)]
    lines = [
        f"| {' | '.join(names)} | |",
        "|---|---|---|" + "--:|" * (2 + len(formats)) + "---|",
    ]
    for row in rows:
        if row.values:
            spread = f"{number(min(row.values))} – {number(max(row.values))}"
            figures = [number(row.middle), spread, *(_cell(row, f, rows, heading) for f in formats)]
            last = ", ".join(f"{name} {number(value)}" for name, value in row.facts.items())
        else:
            figures, last = ["–"] * (2 + len(formats)), f"not measured: {row.missing}"
        cells = [row.tool, row.format, row.what, *figures, last.replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(row: Row, format: str, rows: Sequence[Row], heading: Heading) -> str:
    mine = [r for r in rows if (r.tool, r.format, r.what) == ("puna", format, row.what)]
    if row.tool == "puna" or not mine or not mine[0].values:
        return ""
    return str(ratio(mine[0], row, more=heading.more))


def page(
    headings: Mapping[str, Heading], rows: Sequence[Row], about: Sequence[str], command: str
) -> str:
    """Return the whole page.

    Args:
        headings: of the cases, in their order.
        rows: all figures.
        about: lines on model, machine and versions.
        command: how to make the page again.
    """
    lines = [
        "# Figures of the engine",
        "",
        "Puna and its peers on the same random weights, in one run: the repeats of all lines of a",
        "case take turns, forth and back. Figures are medians; a ratio says how many times as good",
        "Puna is, as the median of the repeats' own ratios, with the least and the most of them.",
        "A machine differs from itself by tens of percent: only ratios of one run mean something.",
        "The weights are such that every next id is known (bench/engine_models.py): `as known` is",
        "the share of ids that were said so, and `ids per step` tells how far guessing ahead took",
        "a pass of the model. Of what stands in the last column, the repeats' least is given.",
        "",
        *(f"- {line}" for line in about),
        "",
        "## Goals",
        "",
        *goals_table(headings, rows),
    ]
    for name, heading in headings.items():
        mine = [row for row in rows if row.case == name]
        lines += ["", f"## {heading.title}", "", heading.text, "", *case_table(heading, mine)]
    return "\n".join([*lines, "", f"Made by `{command}`.", ""])


# Of an x86 processor: what decides how fast products of matrices can be.
_FLAGS = (
    *("avx2", "f16c", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
)


def cpu_of(text: str) -> tuple[str, list[str]]:
    """Return model name and the flags that matter here, of the text of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    has = set(fields.get("flags", "").split())
    return fields.get("model name", "an unknown processor"), [f for f in _FLAGS if f in has]
