"""Speed and memory of Puna's engine beside llama.cpp, transformers and OpenVINO GenAI, in one run.

    sh bench/build_llama.sh SOURCE-OF-LLAMA.CPP        once, into .bench/llama
    python3 -m venv .bench/openvino && .bench/openvino/bin/pip install openvino-genai    once
    python -m bench.engine --markdown docs/engine_figures.md
    python -m bench.engine --model small --repeats 1 --cases prefill,decode --json

Every tool runs in a process of its own on the same random weights (bench/engine_models.py), which
are made under `--work` and kept there, beside engine.json: the figures so far, from which `--keep`
takes the cases that are not run now. Repeats take turns: A B C, C B A, A B C. A tool that cannot be
measured has the reason in its line. Leave the machine alone while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import track

from bench.engine_cases import CASES
from bench.engine_lab import LLAMA, Entry, Lab, Reading
from bench.engine_models import MODELS
from bench.engine_peers import Llama, MissingError, Pool, program
from bench.engine_table import Heading, Row, cpu_of, page

TOOLS = ("puna", "llama.cpp", "transformers", "openvino")


def turns(count: int, repeats: int) -> Iterator[tuple[int, int]]:
    """Yield (repeat from 1 on, line): every line once a repeat, each second repeat backwards."""
    for repeat in range(1, repeats + 1):
        for line in range(count) if repeat % 2 else reversed(range(count)):
            yield repeat, line


def measure(case: str, entries: Sequence[Entry], repeats: int) -> list[Row]:
    """Return the figures of a case: warm all of its lines up, then let their repeats take turns."""
    rows = [Row(case, e.what, e.tool, e.format, (), {}) for e in entries]
    steps = [(0, line) for line, e in enumerate(entries) if e.warm]
    steps += turns(len(entries), repeats)
    quiet = Console(stderr=True)
    for repeat, line in track(steps, case, console=quiet, transient=True):
        row = rows[line]
        if row.missing:
            continue
        try:
            found = entries[line].measure(repeat)
        except MissingError as error:
            rows[line] = replace(row, values=(), facts={}, missing=str(error))
        else:
            if repeat:
                rows[line] = more(row, found)
    return rows


def more(row: Row, found: Reading) -> Row:
    """Return a row with one more figure; of each fact it keeps the least."""
    facts = {name: min(value, row.facts.get(name, value)) for name, value in found.facts.items()}
    return replace(row, values=(*row.values, found.value), facts=facts)


def run(lab: Lab, cases: Sequence[str], repeats: int) -> Iterator[list[Row]]:
    """Yield the rows of each case in turn; nothing stays open between two of them."""
    for name in cases:
        try:
            yield measure(name, CASES[name].entries(lab), repeats)
        finally:
            lab.pool.close()


def about(lab: Lab, repeats: int, load: float) -> list[str]:
    """Return lines on the model, the machine and the versions."""
    name, flags = cpu_of(Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = "" if load < 0.5 else ": not quiet, so these figures only show that the bench works"
    return [
        f"Model: {lab.model.name}, {lab.threads} threads, {repeats} repeats.",
        f"Processor: {name}, {os.cpu_count()} cores, {memory:.0f} GiB; {', '.join(flags)}.",
        f"Load when the run began: {load:.1f}{busy}.",
        f"Versions: {', '.join(versions(lab))}.",
    ]


def versions(lab: Lab) -> list[str]:
    """Return the version of each tool that takes part, as far as it says one."""
    found = [f"Puna {version('puna')}", f"torch {version('torch')}"]
    if "transformers" in lab.tools:
        found.append(f"transformers {version('transformers')}")
    if "llama.cpp" in lab.tools:
        libraries = sorted((lab.llama.folder / "bin").glob("libggml-base.so.*.*.*"))
        ggml = libraries[-1].name.partition(".so.")[2] if libraries else "not built"
        compiler = lab.llama.folder / "compiler.txt"
        by = f" by {compiler.read_text().split(' (')[0].strip()}" if compiler.is_file() else ""
        found.append(f"llama.cpp with ggml {ggml}{by}")
    if "openvino" in lab.tools:
        ask = "from importlib.metadata import version; print(version('openvino-genai'))"
        try:
            said = program([lab.openvino, "-c", ask], lab.work, 1).strip()
        except MissingError:
            said = "not installed"
        found.append(f"OpenVINO GenAI {said}")
    return [*found, f"Python {platform.python_version()}"]


def words_of(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list.

    Raises:
        SystemExit: one is not known.
    """
    found = tuple(text.split(","))
    for name in found:
        if name not in known:
            raise SystemExit(f"no {what} {name!r}; there are {', '.join(known)}")
    return found


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="1b", choices=MODELS)
    parser.add_argument("--cases", default=",".join(CASES), help="default: all of them")
    parser.add_argument("--formats", default="bf16,int8,int4", help=f"of {', '.join(LLAMA)}")
    parser.add_argument("--tools", default=",".join(TOOLS), help="default: all of them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="kept between runs")
    parser.add_argument("--llama", type=Path, help="of bench/build_llama.sh; WORK/llama")
    parser.add_argument("--openvino-python", help="has openvino-genai; WORK/openvino/bin/python")
    parser.add_argument(
        "--keep", action="store_true", help="with the other cases as WORK/engine.json has them"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the page")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    return parser.parse_args()


def lab_of(given: argparse.Namespace) -> Lab:
    """Return what the run works with."""
    work: Path = given.work.absolute()
    llama = (given.llama or work / "llama").absolute()
    return Lab(
        model=MODELS[given.model],
        work=work,
        llama=Llama(llama, work, given.threads),
        openvino=given.openvino_python or str(work / "openvino/bin/python"),
        python=sys.executable,
        threads=given.threads,
        formats=words_of(given.formats, list(LLAMA), "format"),
        tools=words_of(given.tools, TOOLS, "tool"),
        pool=Pool(),
    )


def headings_of(cases: Sequence[str]) -> dict[str, Heading]:
    """Return the headings of these cases; what a case does is its function's docstring."""
    found = {}
    for name in cases:
        case = CASES[name]
        text = " ".join((case.entries.__doc__ or "").split())
        found[name] = Heading(case.title, case.unit, case.more, text)
    return found


@dataclass(frozen=True)
class Run:
    """What was measured together: its cases, lines on how, and the command."""

    cases: tuple[str, ...]
    about: tuple[str, ...]
    command: str

    def said(self) -> str:
        """Return it as one line, for a page that is of a later run."""
        titles = ", ".join(CASES[name].title for name in self.cases)
        return f"Of an earlier run (`{self.command}`): {titles}. {' '.join(self.about)}"


def kept(lab: Lab, cases: Sequence[str]) -> tuple[list[Row], list[Run]]:
    """Return the figures that earlier runs left of other cases than these, and the runs."""
    path = lab.work / "engine.json"
    if not path.is_file():
        return [], []
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "values": tuple(row["values"])}) for row in found["rows"]]
    rows = [row for row in rows if row.case in CASES and row.case not in cases]
    there = {row.case for row in rows}
    runs = []
    for run in found["runs"]:
        left = tuple(name for name in run["cases"] if name in there)
        if left:
            runs.append(Run(left, tuple(run["about"]), run["command"]))
    return rows, runs


def main() -> int:
    """Run the command line; 1 where a line said other ids than the weights do."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # closes what is open, as Ctrl-C does
    given = parsed()
    cases = words_of(given.cases, list(CASES), "case")
    lab, load = lab_of(given), os.getloadavg()[0]
    lab.work.mkdir(parents=True, exist_ok=True)
    command = f"python -m bench.engine {shlex.join(sys.argv[1:])}".strip()
    facts = about(lab, given.repeats, load)
    rows, before = kept(lab, cases) if given.keep else ([], [])
    runs = [*before, Run(cases, tuple(facts), command)]
    facts += [run.said() for run in before]
    text = body = ""
    for found in run(lab, cases, given.repeats):
        rows += found
        there = {row.case for row in rows}
        text = page(headings_of([name for name in CASES if name in there]), rows, facts, command)
        told = {"runs": [asdict(run) for run in runs], "rows": [asdict(row) for row in rows]}
        body = json.dumps(told, indent=2)
        # After each case, so that a run which is broken off has not been for nothing.
        (lab.work / "engine.json").write_text(body, encoding="utf-8")
        if given.markdown:
            given.markdown.write_text(text, encoding="utf-8")
    print(body if given.json else text)
    return int(any(row.facts.get("as known", 1.0) < 1.0 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
