"""Run one target: `python -m tests.fuzz.run TARGET --runs N [--corpus DIR]`.

The target is a process of its own, so that a crash of native code ends it alone; the input that
did it is a finding like any other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
_MEMORY = Path("/dev/shm")
_CRASHES = ("crash-", "timeout-", "oom-", "leak-")


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went; `accepted` is the share of inputs that were read.

    `findings` are (input's file, what it did).
    """

    target: str
    runs: int
    accepted: float
    seconds: float
    edges: int
    corpus: int
    findings: tuple[tuple[str, str], ...]
    code: int
    log: str

    @property
    def per_second(self) -> float:
        """Inputs a second, the start of the process not counted."""
        return self.runs / max(self.seconds, 1e-9)


def run(name: str, runs: int, *, seed: int, work: Path) -> Result:
    """Run a target; `work` keeps its corpus and findings from one run to the next."""
    corpus, findings = work / "corpus" / name, work / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    room = _MEMORY if _MEMORY.is_dir() else None
    log = work / f"{name}.log"
    with tempfile.TemporaryDirectory(dir=room, prefix=f"fuzz-{name}-") as folder:
        command = [sys.executable, "-m", "tests.fuzz.child", name, "--runs", str(runs)]
        command += ["--seed", str(seed), "--corpus", str(corpus)]
        command += ["--findings", str(findings), "--folder", folder]
        start = time.monotonic()
        with log.open("wb") as file:
            code = subprocess.run(
                command, cwd=ROOT, env=_environment(), stdout=file, stderr=file, check=False
            ).returncode
        seconds = time.monotonic() - start
    return _result(name, code, seconds, log, findings)


def _environment() -> dict[str, str]:
    quiet = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
    # The same dice and the same order of sets: the same inputs each time.
    quiet["PYTHONHASHSEED"] = "0"
    return {**os.environ, **quiet}


def _result(name: str, code: int, seconds: float, log: Path, findings: Path) -> Result:
    text = log.read_text("utf-8", "replace")
    done = re.findall(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)/", text, re.M)
    runs, edges, corpus = map(int, done[-1]) if done else (0, 0, 0)
    if spent := re.findall(r"^Done (\d+) runs in (\d+) second", text, re.M):
        runs, seconds = int(spent[-1][0]), max(float(spent[-1][1]), 0.5)
    found = [_told(path) for path in sorted(findings.glob("*.json"))]
    for path in sorted(findings.iterdir()):
        if path.name.startswith(_CRASHES) and path.suffix != ".json":
            found.append((str(path), path.name.partition("-")[0]))
    return Result(
        name, runs, _accepted(findings), seconds, edges, corpus, tuple(found), code, _end(text)
    )


def _accepted(findings: Path) -> float:
    tally = findings.with_suffix(".tally")
    accepted, inputs = tally.read_text().split() if tally.is_file() else ("0", "1")
    return int(accepted) / int(inputs)


def _end(log: str) -> str:
    lines = [line for line in log.splitlines() if not line.startswith("INFO: ")]
    return "\n".join(lines)[-3000:]


def _told(path: Path) -> tuple[str, str]:
    record = json.loads(path.read_text())
    return str(path.with_suffix("")), f"{record['kind']} at {record['place']}"


def main() -> int:
    """Parse, run, print; 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="what to keep, and to begin from")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.corpus or Path(scratch)
        result = run(args.target, args.runs, seed=args.seed, work=work)
        print(line(result))
        for path, what in result.findings:
            print(f"  {what}: {path}")
        if result.code and not result.findings:
            print(result.log)
    return 1 if result.code or result.findings else 0


def line(result: Result) -> str:
    """One row of the table."""
    return (
        f"{result.target:<14}{result.runs:>10,} inputs{result.per_second:>9,.0f}/s"
        f"{result.accepted:>7.0%} read"
        f"{result.edges:>7,} edges{result.corpus:>7,} kept{len(result.findings):>4} findings"
    )


if __name__ == "__main__":
    sys.exit(main())
