"""A process that saves: `saver.py FOLDER full` on a disk of 1 MiB, or `saver.py FOLDER loop`.

`loop` forks a child at each line of its input and prints the child's number; the child saves the
models 1, 2, 3 … until it is killed, and notes each number in FOLDER/acknowledged once saved.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import torch

from puna.errors import PunaError
from puna.families import name_table, read_config
from puna.model import Decoder, build
from puna.weights import save_folder, save_tensors

CONFIG = {
    "model_type": "llama",
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def save(folder: Path, model: Decoder, number: int) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(number)
    table = name_table(read_config(CONFIG))
    save_folder(model, table, folder / "single", config=CONFIG)
    save_folder(model, table, folder / "shards", config=CONFIG, shard_bytes=150_000)


def save_until_killed(folder: Path) -> None:
    model = build(read_config(CONFIG), device="cpu")
    notes = os.open(folder / "acknowledged", os.O_CREAT | os.O_APPEND | os.O_RDWR)
    number = int(((folder / "acknowledged").read_text().split() or ["0"])[-1])
    while True:
        number += 1
        save(folder, model, number)
        os.write(notes, f"{number}\n".encode())


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    if sys.argv[2] == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        tensors = {"a": torch.zeros(1 << 20)}
        try:
            save_tensors(
                folder / "model.safetensors", {"a": (torch.float32, (1 << 20,))}, tensors.items()
            )
        except PunaError as error:
            print(type(error).__name__, error, sep="\n")
        return
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            save_until_killed(folder)
        print(child, flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
