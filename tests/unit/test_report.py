"""Intervals against published values and exact distributions; the page against hostile text."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from puna.errors import FormatError, UsageError
from puna.report import (
    Facts,
    Figure,
    Figures,
    LinePlot,
    Metric,
    Report,
    Scores,
    Section,
    Series,
    Table,
    Text,
    bootstrap,
    intervals,
    render_html,
    to_html,
    wilson,
)
from puna.report.scale import tick_label, ticks

Z = 1.959963984540054
HOSTILE = '</style><script src=\'http://x.test/a.js\'>alert("1")</script>&amp;<img onerror=a() x=">'


# --- intervals ---


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 1 - 0.1170, 1.0),
    ],
)
def test_wilson_gives_published_values(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert found.value == successes / n
    assert (found.n, found.unit) == (n, "share")
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_edges_solve_the_score_equation(case: tuple[int, int]) -> None:
    successes, n = case
    found = wilson(successes, n)
    for edge in (found.low, found.high):
        error = Z * math.sqrt(edge * (1 - edge) / n)
        assert abs(found.value - edge) == pytest.approx(error, rel=1e-5, abs=1e-9)
    mirrored = wilson(n - successes, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("n", [12, 40, 120])
def test_wilson_covers_the_truth_in_95_of_100(n: int) -> None:
    edges = [(wilson(k, n).low, wilson(k, n).high) for k in range(n + 1)]

    def coverage(p: float) -> float:
        chances = (math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1))
        return sum(c for c, (low, high) in zip(chances, edges, strict=True) if low <= p <= high)

    covered = [coverage(i / 200) for i in range(10, 191)]
    assert sum(covered) / len(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.90


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5), (1, -1)])
def test_wilson_needs_trials(successes: int, n: int) -> None:
    with pytest.raises(UsageError):
        wilson(successes, n)


def test_bootstrap_of_few_values_has_the_exact_edges() -> None:
    # Of (0, 0, 1) the mean is 0 with chance 8/27 and 1 with chance 1/27: both above 2.5 %.
    assert bootstrap([0, 0, 1], 1) == Metric(1 / 3, 3, 0.0, 1.0)
    # Of four values 1 comes with chance 1/256, 3/4 with 12/256: the upper edge is 3/4.
    assert bootstrap([0, 0, 0, 1], 1) == Metric(0.25, 4, 0.0, 0.75)
    assert bootstrap([7.5], 3) == Metric(7.5, 1, 7.5, 7.5)
    same = bootstrap([0.1] * 7, 3)
    assert (same.low, same.value, same.high) == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("value", "weights"),
    [
        (0.8, [45, 31, 28, 33, 25, 21, 44, 36, 42, 47, 5, 10, 28]),
        (0.49, [7, 23, 49, 64, 41, 40, 36, 21, 46, 48, 12, 55, 32, 47, 13, 46]),
    ],
)
def test_rounding_does_not_put_a_mean_outside_its_interval(
    value: float, weights: list[float]
) -> None:
    found = bootstrap([value] * len(weights), 0, weights=weights)
    assert (found.low, found.value, found.high) == pytest.approx((value, value, value))


def test_bootstrap_of_many_values_is_near_the_normal_interval() -> None:
    draw = random.Random(4)
    values = [draw.gauss(3.0, 2.0) for _ in range(4000)]
    mean = sum(values) / len(values)
    error = math.sqrt(sum((v - mean) ** 2 for v in values)) / len(values)
    found = bootstrap(values, 5)
    assert found.value == pytest.approx(mean)
    assert (found.low - mean) / error == pytest.approx(-Z, abs=0.12)
    assert (found.high - mean) / error == pytest.approx(Z, abs=0.12)


def test_bootstrap_covers_the_truth() -> None:
    draw = random.Random(9)
    found = [bootstrap([draw.gauss(1.0, 1.0) for _ in range(40)], i) for i in range(300)]
    covered = sum(m.low <= 1.0 <= m.high for m in found) / len(found)
    assert 0.90 <= covered <= 0.98


def test_weighted_bootstrap_resamples_value_and_weight_together() -> None:
    draw = random.Random(2)
    weights = [draw.randint(1, 30) for _ in range(60)]
    values = [1.0 / w + draw.random() / 10 for w in weights]  # long ones are cheap
    found = bootstrap(values, 6, weights=weights)
    assert found.value == pytest.approx(
        sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    )

    def one() -> float:
        drawn = draw.choices(range(60), k=60)
        return sum(values[i] * weights[i] for i in drawn) / sum(weights[i] for i in drawn)

    means = sorted(one() for _ in range(4000))
    width = means[3900] - means[100]
    assert found.low == pytest.approx(means[100], abs=0.1 * width)
    assert found.high == pytest.approx(means[3900], abs=0.1 * width)
    assert bootstrap(values, 6, weights=[2.0] * 60).low == pytest.approx(bootstrap(values, 6).low)


def test_bootstrap_repeats_and_does_not_depend_on_its_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [math.sin(i) for i in range(50)]
    whole = bootstrap(values, 11)
    assert whole == bootstrap(values, 11)
    assert whole != bootstrap(values, 12)
    monkeypatch.setattr(intervals, "_CELLS", 50 * 300)
    pieces = bootstrap(values, 11)
    assert pieces.low == pytest.approx(whole.low, abs=0.02)
    assert pieces.high == pytest.approx(whole.high, abs=0.02)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_bootstrap_needs_finite_values(values: list[float]) -> None:
    with pytest.raises(UsageError):
        bootstrap(values, 0)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan]])
def test_bootstrap_needs_a_weight_above_zero_for_each_value(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="weight"):
        bootstrap([1.0, 2.0], 0, weights=weights)


@pytest.mark.parametrize(
    "wrong",
    [
        (0.5, 0, 0.4, 0.6),
        (0.5, 3, 0.6, 0.7),
        (0.5, 3, 0.4, 0.45),
        (math.nan, 3, 0.0, 1.0),
        (0.5, 3, 0.0, math.inf),
        (0.5, 3, 0.0, 1.1, "share"),
        (0.5, 3, 0.0, 1.0, "percent"),
    ],
)
def test_metrics_that_contradict_themselves(wrong: Any) -> None:
    with pytest.raises(FormatError):
        Metric(*wrong)


# --- the record ---


def report() -> Report:
    return Report(
        kind="evaluation",
        subject="cria",
        task="triage.jsonl",
        metrics={"accuracy": wilson(7, 8), "nats_per_token": bootstrap([0.5, 0.75], 0)},
        samples=({"line": 1, "said": "é\n", "right": True, "meta": {"a": [1, None]}},),
        environment={"dtype": "float32"},
        seed=7,
    )


def test_report_comes_back_from_its_json() -> None:
    text = json.dumps(report().to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == report()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("version",), 2, "version 2"),
        (("version",), True, "version"),
        (("seed",), 1.5, "seed"),
        (("seed",), True, "seed"),
        (("subject",), None, "subject"),
        (("metrics",), [], "metrics"),
        (("samples",), {}, "samples"),
        (("samples",), ["row"], r"samples\[0\]"),
        (("environment", "dtype"), 3, "environment.dtype"),
        (("metrics", "accuracy", "low"), 2.0, "metrics.accuracy"),
        (("metrics", "accuracy", "low"), 10**400, "metrics.accuracy.low"),
        (("metrics", "accuracy", "low"), "0", "metrics.accuracy.low"),
        (("metrics", "accuracy", "n"), 0, "metrics.accuracy"),
        (("metrics", "accuracy", "n"), 8.0, "metrics.accuracy.n"),
        (("metrics", "accuracy", "unit"), "kg", "metrics.accuracy"),
        (("metrics", "accuracy", "unit"), 1, "metrics.accuracy.unit"),
        (("metrics", "accuracy", "extra"), 1, "extra"),
        (("extra",), 1, "extra"),
    ],
)
def test_a_changed_report_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    plain = json.loads(json.dumps(report().to_json()))
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(FormatError) as caught:
        Report.from_json(plain)
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize("key", list(report().to_json()))
def test_a_report_with_a_key_less_is_refused(key: str) -> None:
    plain = report().to_json()
    del plain[key]
    with pytest.raises(FormatError, match=key):
        Report.from_json(plain)


@pytest.mark.parametrize("value", [None, [], "report", 3])
def test_what_is_no_report(value: Any) -> None:
    with pytest.raises(FormatError):
        Report.from_json(value)


# --- the page ---


class Page(HTMLParser):
    """Elements with attributes and text, as a browser's parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def every(self, tag: str, cls: str = "") -> list[dict[str, Any]]:
        return [a for t, a in self.tags if t == tag and cls in (a.get("class") or "")]


def hostile_page() -> str:
    whole = [
        Text(HOSTILE),
        Figures((Figure(HOSTILE, HOSTILE, HOSTILE),)),
        LinePlot((Series(HOSTILE, ((0, 1), (1, 2))),), HOSTILE, HOSTILE, HOSTILE),
        Scores({HOSTILE[:20]: wilson(1, 2)}, frozenset({HOSTILE}), HOSTILE),
        Table((HOSTILE,), ((HOSTILE,),), HOSTILE),
        Facts({HOSTILE: HOSTILE}),
    ]
    return render_html(HOSTILE, [Section(HOSTILE, tuple(whole))], subtitle=HOSTILE)


def hostile_report() -> str:
    return to_html(
        Report(
            kind=HOSTILE,
            subject=HOSTILE,
            task=HOSTILE,
            metrics={HOSTILE: wilson(1, 2)},
            samples=({HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},),
            environment={HOSTILE: HOSTILE},
            seed=0,
        )
    )


@pytest.mark.parametrize("make", [hostile_page, hostile_report])
def test_hostile_text_stays_text(make: Any) -> None:
    page = Page(make())
    known = (
        "html head meta title style body main header section h1 h2 p div span strong i figure "
        "figcaption table thead tbody tr th td dl dt dd svg g line text rect circle polyline title"
    )
    assert {tag for tag, _ in page.tags} <= set(known.split())
    assert len(page.every("style")) == 1
    for _, attributes in page.tags:
        names = set(attributes)
        assert not {n for n in names if n.startswith("on") or n in {"src", "href", "style"}}
    assert page.texts.count(HOSTILE) >= 4


@pytest.mark.parametrize("make", [hostile_page, hostile_report, lambda: to_html(report())])
def test_page_is_self_contained(make: Any) -> None:
    html = make()
    shown = html.replace("http://x.test", "")  # the hostile text itself, which is escaped
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe", shown, re.IGNORECASE)
    policy = [a for a in Page(html).every("meta") if a.get("http-equiv")]
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    html.encode("utf-8")


def test_what_cannot_stand_in_a_page_is_replaced() -> None:
    html = render_html("a\x00b\ud800c\u202ed\x1b", [])
    assert (
        "<h1>a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}cd\N{REPLACEMENT CHARACTER}"
        in html
    )
    html.encode("utf-8")


def test_shares_are_percent_and_other_figures_are_not() -> None:
    texts = Page(to_html(report())).texts
    assert "87.5 %" in texts
    assert "0.625" in texts  # nats per token lie between 0 and 1 as well, but are no share
    assert "62.5 %" not in texts
    assert {"52.9 % – 97.8 %", "0.5 – 0.75"} <= set(texts)
    assert len(Page(to_html(report())).every("g", "score")) == 1


def test_report_page_shows_samples_and_says_how_many_are_left_out() -> None:
    rows = tuple({"line": i, "right": i % 2 == 0, "said": f"row {i}."} for i in range(100))
    many = Report("evaluation", "m", "t", {"accuracy": wilson(50, 100)}, rows, {}, 0)
    page = Page(to_html(many))
    shown = [text for text in page.texts if text.startswith("row ")]
    assert shown == [f"row {i}." for i in range(60)]
    assert "The first 60 of 100." in page.texts
    assert (page.texts.count("✓"), page.texts.count("✗")) == (30, 30)


def test_an_empty_report_has_a_page() -> None:
    assert "m on t" in Page(to_html(Report("evaluation", "m", "t", {}, (), {}, 0))).texts


def test_long_samples_are_shortened_with_a_count() -> None:
    long = Report("evaluation", "m", "t", {}, ({"said": "x" * 2000},), {}, 0)
    assert f"{'x' * 1200} … (800 more)" in Page(to_html(long)).texts


# --- plots ---


def drawn(plot: LinePlot) -> Page:
    return Page(render_html("t", [Section("s", (plot,))]))


def number(text: str) -> float:
    return float(text.replace(",", ""))


def axes(html: str) -> tuple[Any, Any]:
    """The maps from places back to data, read off the labeled ticks alone."""

    def inverse(marks: list[tuple[float, float]]) -> Any:
        (place, value), (place2, value2) = marks[0], marks[-1]
        slope = (value2 - value) / (place2 - place)
        for p, v in marks:
            assert value + (p - place) * slope == pytest.approx(v, rel=1e-3, abs=abs(slope))
        return lambda at: value + (at - place) * slope

    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="tick (\w+)">([^<]+)</text>', html)
    across = [(float(x), number(label)) for x, _, kind, label in found if kind == "middle"]
    up = [(float(y) - 4, number(label)) for _, y, kind, label in found if kind == "end"]
    return inverse(across), inverse(up)


@pytest.mark.parametrize(
    "points",
    [
        ((0, 2.5), (10, 1.25), (20, 0.75), (35, 0.5)),
        ((1, -3.0), (2, 4.0), (3, -1.0)),
        ((1000, 1e-4), (250000, 3e-4), (1500000, 2e-4)),
        ((0, 7.25), (0.5, 7.26), (1, 7.31)),
    ],
)
def test_plot_contains_the_points(points: tuple[tuple[float, float], ...]) -> None:
    plot = LinePlot((Series("loss", points), Series("flat", ((points[0][0], 0.0),))), "step", "y")
    html = render_html("t", [Section("s", (plot,))])
    back_x, back_y = axes(html)
    line = Page(html).every("polyline")
    assert len(line) == 1
    places = [tuple(map(float, pair.split(","))) for pair in line[0]["points"].split()]
    up = [y for _, y in points].index(max(y for _, y in points))
    assert places[up][1] == min(y for _, y in places)  # the drawing's y grows downward
    width = points[-1][0] - points[0][0]
    heights = [0.0, *(y for _, y in points)]
    tall = max(heights) - min(heights)
    assert len(places) == len(points)
    for (a, b), (x, y) in zip(places, points, strict=True):
        assert back_x(a) == pytest.approx(x, abs=width / 500)
        assert back_y(b) == pytest.approx(y, abs=tall / 200)
    hints = [text for text in Page(html).texts if " at " in text]
    assert hints[: len(points)] == [f"loss: {y:.4g} at {x:,.6g}" for x, y in points]


def test_a_line_is_broken_where_a_point_is_not_finite() -> None:
    values = (1.0, 2.0, math.nan, 3.0, 4.0, math.inf, 5.0)
    page = drawn(LinePlot((Series("s", tuple(enumerate(values))),), "x", "y"))
    assert [len(a["points"].split()) for a in page.every("polyline")] == [2, 2]
    assert len(page.every("circle", "dot")) == 1
    assert "nan" not in " ".join(f"{a}" for _, a in page.tags).lower()


@pytest.mark.parametrize("points", [(), ((math.nan, 1.0),)])
def test_a_plot_without_points_says_so(points: tuple[tuple[float, float], ...]) -> None:
    page = drawn(LinePlot((Series("s", points),), "x", "y"))
    assert "No points to show." in page.texts
    assert not page.every("svg")


@given(
    st.lists(
        st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_drawing_stays_within_its_frame(points: list[tuple[float, float]]) -> None:
    page = drawn(LinePlot((Series("s", tuple(points)),), "x", "y"))
    for attributes in page.every("line") + page.every("circle"):
        for name, value in attributes.items():
            if name[0] in "xy" or name in {"cx", "cy"}:
                assert -1 <= float(value) <= 761
    for attributes in page.every("polyline"):
        for pair in attributes["points"].split():
            x, y = map(float, pair.split(","))
            assert 63 <= x <= 743
            assert 13 <= y <= 273


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=6), st.integers(3, 9))
@example([1e9, 1e9 + 100], 5)
@example([0.0, 5e-324], 5)
def test_ticks_enclose_all_values_evenly_and_their_labels_tell_them(
    values: list[float], count: int
) -> None:
    marks = ticks(values, count)
    step = marks[1] - marks[0]
    slack = max(step, max(map(abs, marks)) * 1e-12) * 1e-6
    assert marks[0] <= min(values) + slack
    assert max(values) - slack <= marks[-1]
    assert 2 <= len(marks) <= 2 * count + 2
    labels = [tick_label(mark, step) for mark in marks]
    assert len(set(labels)) == len(labels)
    for mark, label in zip(marks, labels, strict=True):
        assert number(label) == pytest.approx(mark, abs=step / 4)


def test_tick_labels() -> None:
    assert [tick_label(v, 2.5) for v in (0, 2.5, 5, 7.5)] == ["0.0", "2.5", "5.0", "7.5"]
    assert [tick_label(v, 0.25) for v in (0.25, 0.5)] == ["0.25", "0.50"]
    assert tick_label(12000, 2000) == "12,000"


def test_score_chart_places_value_and_whiskers() -> None:
    rows = {"before": Metric(0.2, 9, 0.1, 0.4, "share"), "after": Metric(0.9, 9, 0.7, 1.0, "share")}
    page = Page(render_html("t", [Section("s", (Scores(rows, frozenset({"after"})),))]))
    left, right = 190, 760 - 178
    dots = [float(a["cx"]) for a in page.every("circle", "dot")]
    assert dots == pytest.approx([left + (right - left) * v for v in (0.2, 0.9)], abs=0.01)
    whiskers = [a for a in page.every("line", "whisker") if a["x1"] != a["x2"]]
    ends = [(float(a["x1"]) - left, float(a["x2"]) - left) for a in whiskers]
    wide = right - left
    assert ends[0] == pytest.approx((0.1 * wide, 0.4 * wide), abs=0.01)
    assert ends[1] == pytest.approx((0.7 * wide, 1.0 * wide), abs=0.01)
    assert [a["class"] for a in page.every("g")] == ["score", "score marked"]
    assert {"20.0 %", "10.0 % – 40.0 %", "0 %", "100 %"} <= set(page.texts)


def test_report_does_not_need_torch() -> None:
    code = "import sys, puna.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
