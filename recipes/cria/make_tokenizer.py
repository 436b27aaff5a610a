"""Train the tokenizer of cria: `python recipes/cria/make_tokenizer.py --data DIR --out DIR`.

Reads pretrain.jsonl and chat.jsonl; writes tokenizer.json, tokenizer_config.json and
chat_template.jinja. It is a byte-level BPE: its first tokens are the 256 bytes, so every text comes
back as it was. Digits are tokens of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from puna.errors import DataError, PunaError, SourceError, StorageError

HERE = Path(__file__).resolve().parent
VOCABULARY = 2048
CONTEXT = 512
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
# The place in this row is the id, which config.json names.
SPECIALS = (PAD, BEGIN, END, "<|system|>", "<|user|>", "<|assistant|>")


def texts(data: Path) -> Iterator[str]:
    """Yield every text that the model is trained on.

    Raises SourceError where a file is missing, DataError (with its line) for a row without text.
    """
    for name in ("pretrain.jsonl", "chat.jsonl"):
        path = data / name
        try:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    yield from _row(line, f"{path}, line {number}")
        except OSError as error:
            raise SourceError(
                f"cannot read {name}: {error.strerror}",
                where=str(data),
                remedy="write the data first with make_data.py",
            ) from error


def _row(line: str, where: str) -> Iterator[str]:
    try:
        row = json.loads(line)
        found = [row["text"]] if "text" in row else [turn["content"] for turn in row["messages"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "a row is neither a text nor a conversation",
            where=where,
            remedy="write the data again with make_data.py",
        ) from error
    yield from found


def train(data: Path) -> Tokenizer:
    """Return a tokenizer of exactly `VOCABULARY` tokens; the same data give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A",
        pair=f"{BEGIN} $A {BEGIN}:1 $B:1",
        special_tokens=[(BEGIN, SPECIALS.index(BEGIN))],
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(data), trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise DataError(
            f"the text gives {tokenizer.get_vocab_size()} tokens and not {VOCABULARY}",
            where=str(data),
            remedy="write more text with a larger --scale",
        )
    return tokenizer


def settings() -> dict[str, object]:
    """Return what tokenizer_config.json says."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }


def make(data: Path, out: Path) -> Tokenizer:
    """Train the tokenizer and write its three files to `out`; returns it.

    Raises SourceError or DataError for bad data, StorageError when the disk refuses.
    """
    tokenizer = train(data)
    _write(out, "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    _write(out, "tokenizer_config.json", json.dumps(settings(), indent=2) + "\n")
    template = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
    _write(out, "chat_template.jinja", template)
    return tokenizer


def _write(folder: Path, name: str, text: str) -> None:
    part = folder / f".{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
    except OSError as error:
        raise StorageError(
            f"could not write {name}: {error.strerror}",
            where=str(folder),
            remedy="choose a folder with free space",
        ) from error


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of make_data.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    given = parser.parse_args()
    try:
        tokenizer = make(given.data, given.out)
    except PunaError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{tokenizer.get_vocab_size()} tokens in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
