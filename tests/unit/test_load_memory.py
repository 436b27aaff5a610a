"""A load takes no more memory than the weights and a seventh: what `bench/load_memory.py` shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bench.load_memory import CASES, run

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs /proc/self/status as Linux keeps it"
)

# One gigabyte where it was promised; elsewhere enough that the process itself is small beside it.
SIZES = [
    ("llama", 1.05),
    ("falcon", 0.2),
    ("falcon-bin", 0.2),
    ("llama-as-float16", 0.2),
]


@pytest.mark.parametrize(("name", "gigabytes"), SIZES)
def test_a_load_takes_little_more_than_the_weights(
    name: str, gigabytes: float, tmp_path: Path
) -> None:
    (row,) = run(name, gigabytes, libraries=("puna",), parent=tmp_path)
    assert row.weights >= gigabytes * 1e9
    assert 0.9 < row.ratio <= 1.15, f"{row.grown} bytes for {row.weights} of weights"
    assert not list(tmp_path.glob("puna-load-*"))


def test_the_sizes_are_of_cases_that_exist() -> None:
    assert {name for name, _ in SIZES} <= set(CASES)
