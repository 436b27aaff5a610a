"""What a plan says is what a process takes: two cases of `bench/plan.py`."""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import pytest
from bench.plan import run
from bench.plan_cases import SMALL


def may_lock() -> bool:
    """Whether this process may keep weights in memory, found out with a buffer of 16 MiB."""
    buffer = mmap.mmap(-1, 16 << 20)
    start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return ctypes.CDLL(None).mlock(ctypes.c_void_p(start), ctypes.c_size_t(len(buffer))) == 0


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not may_lock(), reason="needs VmHWM and memory that may be locked"
)


@pytest.mark.parametrize("name", SMALL)
def test_the_prediction_is_near_what_is_measured(name: str, tmp_path: Path) -> None:
    (row,) = run([name], parent=tmp_path)
    assert row.parts["weights"] >= 300e6
    assert abs(row.error) < 0.15, row
    assert not list(tmp_path.glob("puna-plan-*"))
