"""Spans of files to parameters, and back. It fills modules and builds none."""

from puna.weights.checkpoint import (
    Checkpoint,
    checkpoint_dtype,
    open_checkpoint,
    open_gguf,
)
from puna.weights.fill import load_into
from puna.weights.layout import to_ours, to_theirs
from puna.weights.packed import Packer, put
from puna.weights.read import read_tensors
from puna.weights.save import gather, save_folder, save_tensors
from puna.weights.save_gguf import Planned, plan_gguf, save_gguf

__all__ = [
    "Checkpoint",
    "Packer",
    "Planned",
    "checkpoint_dtype",
    "gather",
    "load_into",
    "open_checkpoint",
    "open_gguf",
    "plan_gguf",
    "put",
    "read_tensors",
    "save_folder",
    "save_gguf",
    "save_tensors",
    "to_ours",
    "to_theirs",
]
