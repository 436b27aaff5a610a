"""docs/tokenizers.md shows the table of pre-tokenizers as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from puna.text.published import BY_CLASS
from puna.text.slow import BY_CLASS as SLOW_CLASSES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tokenizers.md"


def test_the_table_is_current() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_tokenizers.py", "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == PAGE.read_text(), "run python docs/make_tokenizers.py"


def test_every_class_that_is_known_is_named() -> None:
    for name in (*BY_CLASS, *SLOW_CLASSES):
        assert f"`{name}`" in PAGE.read_text()
