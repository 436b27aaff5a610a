"""Run every target, some at a time, and print a table: `python -m tests.fuzz.campaign`."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.fuzz.run import ROOT, Result, line, run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Parse, run, print each row as it is there; 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="all of them by default")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs of each target")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first change")
    parser.add_argument("--work", type=Path, default=ROOT / ".fuzz", help="what is kept")
    args = parser.parse_args()
    names = args.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {min(unknown)}; known: {', '.join(TARGETS)}")
    args.work.mkdir(parents=True, exist_ok=True)
    print(f"{args.runs:,} inputs each, seed {args.seed}; kept in {args.work}", flush=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = [
            pool.submit(run, name, args.runs, seed=args.seed, work=args.work) for name in names
        ]
        results = [_shown(done.result()) for done in as_completed(waiting)]
    total = sum(result.runs for result in results)
    found = sum(len(result.findings) for result in results)
    print(f"{total:,} inputs in all, {found} findings")
    return 1 if found or any(result.code for result in results) else 0


def _shown(result: Result) -> Result:
    print(line(result), flush=True)
    for path, what in result.findings:
        print(f"  {what}: {path}", flush=True)
    if result.code and not result.findings:
        print(result.log, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
