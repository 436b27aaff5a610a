"""Ten thousand inputs of each parser, from the same dice each time; `make fuzz` runs a million."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.fuzz.run import line, run
from tests.fuzz.targets import TARGETS

RUNS = 10_000
SEED = 20_261_124


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris, which drives libFuzzer, has no wheel for this system",
)
@pytest.mark.parametrize("name", TARGETS)
def test_ten_thousand_inputs_are_read_or_refused(name: str, tmp_path: Path) -> None:
    result = run(name, RUNS, seed=SEED, work=tmp_path)
    told = "\n".join([line(result), *(f"{what}: {path}" for path, what in result.findings)])
    assert not result.findings, told
    assert result.code == 0, f"{told}\n{result.log}"
    assert result.runs >= RUNS, told
    assert 0 < result.accepted < 1, f"{told}\nnothing was read, or nothing refused"
    assert result.edges > 50, f"{told}\nthe search saw no code of the parser"
