"""The docs tell the truth: trees match the disk, snippets run, help pages are current."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rooms_on_disk() -> set[str]:
    package = ROOT / "src" / "puna"
    return {
        path.name + "/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.name not in {"__pycache__", "__init__.py", "__main__.py", "py.typed"}
    }


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_tree_has_one_line_per_room(page: str) -> None:
    tree = re.search(r"```\nsrc/puna/\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert tree is not None
    named = [line.split()[0] for line in tree[1].splitlines()]
    assert sorted(named) == sorted(rooms_on_disk())


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} points to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, snippet in enumerate(snippets, 1):
        exec(compile(snippet, f"{page.name} snippet {number}", "exec"), names)


def test_examples_in_docstrings_run() -> None:
    names = ("puna.generate.model", "puna.generate.opening")
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.attempted for result in results) > 10
    assert not any(result.failed for result in results)


@pytest.mark.parametrize("name", ["commands", "families"])
def test_made_pages_are_current(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / f"make_{name}.py", "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == page, f"run python docs/make_{name}.py"


def test_import_and_help_need_no_torch() -> None:
    for code in ("import puna", "import puna.cli", "import puna.cli.inspect, puna.cli.chat"):
        probe = f"import sys; {code}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0, code
