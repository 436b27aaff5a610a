"""The record of a measurement: what was measured, on what, where, and what came out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from puna.errors import FormatError

_FORMAT = 1

Unit = Literal["share", ""]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval [`low`, `high`], from `n` observations.

    `unit` is `share` for a share of all, shown in percent; other figures have none.

    Raises:
        FormatError: not finite, out of order, outside its unit, or from no observations.
    """

    value: float
    n: int
    low: float
    high: float
    unit: Unit = ""

    def __post_init__(self) -> None:
        figures = (self.low, self.value, self.high)
        if not all(map(math.isfinite, figures)) or not self.low <= self.value <= self.high:
            raise FormatError(f"a metric needs low ≤ value ≤ high, not {figures}")
        if self.unit not in get_args(Unit):
            raise FormatError(f"a metric's unit is share or nothing, not {self.unit!r:.40}")
        if self.unit == "share" and not 0 <= self.low <= self.high <= 1:
            raise FormatError(f"a share lies between 0 and 1, unlike {figures}")
        if self.n < 1:
            raise FormatError("a metric needs at least one observation")


@dataclass(frozen=True, slots=True)
class Report:
    """What evaluations and audits return.

    Args:
        kind: what sort of measurement, such as `evaluation`.
        subject: what was measured, such as a model's name.
        task: with what it was measured.
        metrics: name → figure with interval.
        samples: rows of plain JSON values, for people to look at.
        environment: name → text: versions, device, number format, and how answers are compared.
        seed: of everything that was drawn.
        version: of this record's own form.
    """

    kind: str
    subject: str
    task: str
    metrics: Mapping[str, Metric]
    samples: tuple[Mapping[str, Any], ...]
    environment: Mapping[str, str]
    seed: int
    version: int = _FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        plain: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["metrics"] = {name: asdict(metric) for name, metric in self.metrics.items()}
        plain["samples"] = [dict(row) for row in self.samples]
        plain["environment"] = dict(self.environment)
        return plain

    @classmethod
    def from_json(cls, value: Any) -> Report:
        """Return the record that `to_json` gave; nothing may be missing, left over or mistyped.

        Raises:
            FormatError: it is not such a record; names the key.
        """
        row = _object(value, (field.name for field in fields(cls)), "report")
        if row["version"] != _FORMAT or isinstance(row["version"], bool):
            raise FormatError(
                f"this report has version {row['version']!r}, and this program reads {_FORMAT}",
                remedy="make the report again",
            )
        for key in ("kind", "subject", "task"):
            _kind(row[key], str, f"report.{key}")
        metrics = _kind(row["metrics"], dict, "report.metrics")
        samples = _kind(row["samples"], list, "report.samples")
        environment = _kind(row["environment"], dict, "report.environment")
        return cls(
            kind=row["kind"],
            subject=row["subject"],
            task=row["task"],
            metrics={name: _metric(m, f"report.metrics.{name}") for name, m in metrics.items()},
            samples=tuple(_kind(s, dict, f"report.samples[{i}]") for i, s in enumerate(samples)),
            environment={
                name: _kind(text, str, f"report.environment.{name}")
                for name, text in environment.items()
            },
            seed=_kind(row["seed"], int, "report.seed"),
        )


def _metric(value: Any, where: str) -> Metric:
    row = _object(value, (field.name for field in fields(Metric)), where)
    n = _kind(row["n"], int, f"{where}.n")
    value, low, high = (_number(row[key], f"{where}.{key}") for key in ("value", "low", "high"))
    unit = _kind(row["unit"], str, f"{where}.unit")
    try:
        return Metric(value, n, low, high, unit)
    except FormatError as error:
        raise FormatError(error.what, where=where) from None


def _object(value: Any, names: Iterable[str], where: str) -> dict[str, Any]:
    row: dict[str, Any] = _kind(value, dict, where)
    wanted = set(names)
    if missing := sorted(wanted - set(row)):
        raise FormatError(f"a report's key is missing: {missing[0]}", where=where)
    if unknown := sorted(map(str, set(row) - wanted)):
        raise FormatError(f"a report has an unknown key: {unknown[0]}", where=where)
    return row


def _kind(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(
            f"a report needs {kind.__name__} here, not {type(value).__name__}", where=where
        )
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"a report needs a number here, not {type(value).__name__}", where=where)
    try:
        return float(value)
    except OverflowError:
        raise FormatError("a report needs a smaller number here", where=where) from None
