"""One target under libFuzzer, in a process of its own; `run.py` starts it."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from random import Random

import atheris

from tests.fuzz.targets import TARGETS

_MOST_FINDINGS = 30
# Share of changes that begin from a seed again: what is changed often is seldom sound.
_AFRESH = 0.3
_EVERY = 1000  # inputs, between two notes of how many were accepted: no process ends in Python


def main() -> None:
    """Run one target; findings go to files, and the numbers to libFuzzer's own last lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    entry = TARGETS[args.target]
    with atheris.instrument_imports(include=list(entry.instrument), enable_loader_override=False):
        target = entry.open(args.folder)
        from tests.fuzz.watch import Finding, Watch

    watch = Watch(target, args.folder)
    tally = args.findings.parent / f"{args.target}.tally"
    seen: set[tuple[str, str]] = set()

    def save(data: bytes, found: Finding) -> None:
        if (found.kind, found.place) in seen or len(seen) >= _MOST_FINDINGS:
            return
        seen.add((found.kind, found.place))
        path = args.findings / f"{found.kind}-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        record = {"kind": found.kind, "place": found.place, "text": found.text}
        path.with_suffix(".json").write_text(json.dumps(record, indent=1))

    def one(data: bytes) -> None:
        if found := watch.run(data):
            save(data, found)
        if watch.inputs % _EVERY == 0:
            tally.write_text(f"{watch.accepted} {watch.inputs}")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        dice = Random(seed)
        if dice.random() < _AFRESH:
            data = dice.choice(target.seeds)
        changed = target.mutate(data, dice, lambda part: atheris.Mutate(part, most))
        return changed if len(changed) <= most else atheris.Mutate(data[:most], most)

    for seed in target.seeds:
        path = args.corpus / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}"
        path.write_bytes(seed)
    options = {
        "runs": args.runs,
        "seed": args.seed,
        "max_len": target.longest,
        "timeout": 60,
        "mutate_depth": 2,
        "rss_limit_mb": 3072,
        "artifact_prefix": f"{args.findings}/",
        "print_final_stats": 1,
    }
    if target.words:
        words = args.findings.parent / f"{args.target}.dict"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        options["dict"] = words
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(args.corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
