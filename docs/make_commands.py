"""Write docs/commands.md from the commands' own help, so that it cannot drift."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    *("", "inspect", "plan", "tokenize", "render", "generate", "chat", "tune", "eval", "serve"),
    *("export", "pull", "list", "show", "rm", "merge", "push"),
)


def help_of(command: str) -> str:
    """Return the help page of one command, as a terminal of 80 columns shows it."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}  # noqa: TID251
    done = subprocess.run(
        [sys.executable, "-m", "puna", *([command] if command else []), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return re.sub(r"[ \t]+$", "", done.stdout, flags=re.M).strip()


def page() -> str:
    """Return the whole page."""
    parts = ["# Commands\n\nMade from `--help` by `docs/make_commands.py`; a test holds it.\n"]
    for command in COMMANDS:
        title = f"puna {command}".strip()
        parts.append(f"## {title}\n\n```\n{help_of(command)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        (Path(__file__).parent / "commands.md").write_text(page())
