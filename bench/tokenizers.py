"""Published vectors passed by each tokenizer: a table, or one JSON value with --json.

A vector is a text and its ids; it passes if the text gives the ids and the ids give the text
back. What lies in the folder is tried: every GGUF with `.inp` and `.out` beside it, the same
vocabularies in other forms, and the vectors of swift-transformers.

    python -m bench.tokenizers [FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from puna.errors import PunaError
from puna.text import Tokenizer, open_tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "tokenizers"
SEPARATOR = "\n__ggml_vocab_test__\n"
# Other forms of the vocabularies that llama.cpp's vectors are for: path, vectors, pre-tokenizer.
FORMS = (
    ("llama2_tokenizer.model", "llama-spm", None),
    ("gpt-neox/20B_tokenizer.json", "mpt", None),
    ("llama.cpp/ggml-vocab-gpt-neox.gguf", "mpt", None),
    ("llama3/tokenizer.model", "llama-bpe", "llama3"),
    ("llama3.2", "llama-bpe", "llama3"),
    ("qwen1/qwen.tiktoken", "qwen2", "qwen2"),
)
# The vectors of swift-transformers: names there, and where their tokenizer lies.
SWIFT = (
    ("falcon", "tiiuae/falcon-7b", "llama.cpp/ggml-vocab-falcon.gguf", None),
    ("gpt2", "distilgpt2", "llama.cpp/ggml-vocab-gpt-2.gguf", None),
    ("llama", "coreml-projects/Llama-2-7b-chat-coreml", "llama2_tokenizer.model", None),
    (
        "llama",
        "coreml-projects/Llama-2-7b-chat-coreml",
        "llama.cpp/ggml-vocab-llama-spm.gguf",
        None,
    ),
    ("llama_3.2", "pcuenq/Llama-3.2-1B-Instruct-tokenizer", "llama3.2", None),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenizer on one set of vectors; `error` says why it could not be read."""

    tokenizer: str
    vectors: str
    passed: int
    of: int
    load_seconds: float
    error: str | None = None


def main() -> None:
    """Print the table; exit 1 if a vector failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = list(rows(options.folder))
    if options.json:
        print(json.dumps([asdict(row) for row in found], indent=2))
    else:
        show(found)
    sys.exit(any(row.passed < row.of for row in found) or not found)


def rows(folder: Path) -> Iterator[Row]:
    """Every tokenizer and set of vectors that the folder holds."""
    for path in sorted((folder / "llama.cpp").glob("*.gguf")):
        if path.with_name(f"{path.name}.inp").is_file():
            yield row(folder, path, path.name[len("ggml-vocab-") : -len(".gguf")], None)
    for name, vectors, pre in FORMS:
        if (folder / name).exists() and (cases := llama_cpp(folder, vectors)):
            yield measure(folder, folder / name, f"llama.cpp {vectors}", cases, pre)
    for short, suite, name, pre in SWIFT:
        if (folder / name).exists() and (cases := swift(folder, short, suite)):
            yield measure(folder, folder / name, f"swift {short}", cases, pre, special=True)


def row(folder: Path, path: Path, vectors: str, pre: str | None) -> Row:
    """One GGUF on its own vectors."""
    return measure(folder, path, f"llama.cpp {vectors}", llama_cpp(folder, vectors), pre)


def measure(
    folder: Path,
    path: Path,
    vectors: str,
    cases: list[tuple[str, list[int]]],
    pre: str | None,
    *,
    special: bool = False,
) -> Row:
    """Read the tokenizer and try all cases."""
    shown = str(path.relative_to(folder))
    start = time.perf_counter()
    try:
        tokenizer = open_tokenizer(path, pre=pre)
    except PunaError as error:
        return Row(shown, vectors, 0, len(cases), 0.0, error.what)
    seconds = round(time.perf_counter() - start, 2)
    good = sum(passes(tokenizer, text, ids, special) for text, ids in cases)
    return Row(shown, vectors, good, len(cases), seconds)


def passes(tokenizer: Tokenizer, text: str, ids: list[int], special: bool) -> bool:
    """There and back."""
    return tokenizer.encode(text, add_special=special) == ids and tokenizer.decode(ids) == text


def llama_cpp(folder: Path, name: str) -> list[tuple[str, list[int]]]:
    """The texts and ids of one vocabulary; none where the files are not there."""
    stem = folder / "llama.cpp" / f"ggml-vocab-{name}.gguf"
    if not Path(f"{stem}.inp").is_file():
        return []
    with open(f"{stem}.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split(SEPARATOR)
    lines = Path(f"{stem}.out").read_text("utf-8").split("\n")
    return [
        (text, [int(number) for number in line.split()])
        for text, line in zip(texts, lines, strict=False)
    ]


def swift(folder: Path, name: str, suite: str) -> list[tuple[str, list[int]]]:
    """The suite of short texts, and the long one where its ids are given."""
    place = folder / "swift-transformers-vectors"
    if not (place / "tokenizer_tests.json").is_file():
        return []
    suites = json.loads((place / "tokenizer_tests.json").read_text("utf-8"))
    cases = [(case["input"], case["encoded"]["input_ids"]) for case in suites.get(suite, [])]
    long = place / f"{name}_encoded.json"
    if long.is_file():
        case = json.loads(long.read_text("utf-8"))
        cases.append((case["text"], case["token_ids"]))
    return cases


def show(found: list[Row]) -> None:
    """Print the table."""
    table = Table(title="Vectors passed per tokenizer", title_justify="left")
    for column in ("tokenizer", "vectors", "passed", "load"):
        table.add_column(column, justify="right" if column in ("passed", "load") else "left")
    for entry in found:
        style = "green" if entry.passed == entry.of else "bold red"
        passed = entry.error or f"{entry.passed} / {entry.of}"
        table.add_row(
            entry.tokenizer, entry.vectors, passed, f"{entry.load_seconds} s", style=style
        )
    Console().print(table)


if __name__ == "__main__":
    main()
