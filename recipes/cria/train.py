"""cria from an empty folder to a model: text, tokenizer, two stages of training, scores, card.

    python recipes/cria/train.py --out DIR

Stage `read` learns all of the plain text it is given, stage `talk` only what the assistant says.
The same seed on the same machine gives the same weights; a run that was stopped goes on where it
was. The model is in DIR/model, the loss of every step in DIR/losses.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import card
import make_data
import make_tokenizer
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from puna.data import Encoded, encode_all, read_examples
from puna.errors import PunaError
from puna.families import name_table, read_config
from puna.formats import write_atomic
from puna.jobs import record_seal
from puna.model import Decoder, build, initialize
from puna.source import read_json
from puna.text import load_template, load_tokenizer, save_template, save_tokenizer
from puna.tune import Settings, Step, train
from puna.weights import save_folder

HERE = Path(__file__).resolve().parent
READ_SHARE = 0.4  # of the plain text; with one pass over the conversations this fits 20 minutes
READ = Settings(
    epochs=1, batch_size=48, learning_rate=3e-3, final=0.8, warmup=0.1, weight_decay=0.05
)
TALK = Settings(
    epochs=1, batch_size=48, learning_rate=2.5e-3, final=0.01, warmup=0.02, weight_decay=0.05
)


def examples(path: Path, tokens: Path, context: int, share: float, bar: Progress) -> list[Encoded]:
    """Read and encode the first `share` of a data file; its rows are in random order already."""
    rows = read_examples(path)
    rows = rows[: max(1, int(len(rows) * share))]
    task = bar.add_task(f"encoding {path.name}", total=len(rows), remark="")
    tokenizer = load_tokenizer(tokens)
    return encode_all(
        rows,
        tokenizer=tokenizer,
        template=load_template(tokens, tokenizer),
        context=context,
        on_progress=lambda done, _: bar.update(task, completed=done),
    )


def learn(
    model: Decoder, rows: list[Encoded], settings: Settings, state: Path, bar: Progress, name: str
) -> tuple[float, ...]:
    """Run one stage with a bar that shows loss and tokens per second."""
    task = bar.add_task(f"stage {name}", total=None, remark="")

    def show(step: Step) -> None:
        remark = f"loss {step.loss:.3f}, {step.tokens / step.seconds:,.0f} tokens/s"
        bar.update(task, total=step.steps, completed=step.step, remark=remark)

    return train(model, rows, settings, state=state, about={"stage": name}, on_step=show)


def make(out: Path, *, seed: int, scale: float, console: Console) -> None:
    """Do what has not been done yet, and write the model to `out`/model."""
    data, tokens = out / "data", out / "tokenizer"
    if not (data / "stats.json").is_file():
        make_data.make(data, seed=seed, scale=scale, console=console)
    if not (tokens / "chat_template.jinja").is_file():
        make_tokenizer.make(data, tokens)
    config = read_json(HERE / "config.json", what="config of cria")
    spec = read_config(config)
    model = build(spec, device="cpu")
    initialize(model, seed=seed)
    losses: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[remark]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        for name, file, share, settings in (
            ("read", "pretrain.jsonl", READ_SHARE, READ),
            ("talk", "chat.jsonl", 1.0, TALK),
        ):
            rows = examples(data / file, tokens, spec.context, share, bar)
            losses[name] = learn(model, rows, replace(settings, seed=seed), out / name, bar, name)
    folder = out / "model"
    save_folder(model, name_table(spec), folder, config=config, dtype=torch.bfloat16)
    tokenizer = load_tokenizer(tokens)
    template = load_template(tokens, tokenizer)
    if tokenizer is not None and template is not None:
        save_tokenizer(tokenizer, folder)
        save_template(template, folder)
    special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_atomic(folder / "generation_config.json", (json.dumps(special, indent=2) + "\n").encode())
    record_seal(folder)
    write_atomic(out / "losses.json", (json.dumps(losses) + "\n").encode())


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything it makes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the full size")
    given = parser.parse_args()
    console = Console(stderr=True)
    try:
        make(given.out, seed=given.seed, scale=given.scale, console=console)
        card.make(given.out, console)
    except PunaError as error:
        console.print(str(error), markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from the last checkpoint")
        return 130
    console.print(f"the model is in {given.out / 'model'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
