"""Spans of files to parameters, and back. It fills modules and builds none."""

from puna.weights.checkpoint import Checkpoint, checkpoint_dtype, open_checkpoint
from puna.weights.fill import load_into
from puna.weights.layout import to_ours, to_theirs
from puna.weights.read import read_tensors
from puna.weights.save import gather, save_folder, save_tensors

__all__ = [
    "Checkpoint",
    "checkpoint_dtype",
    "gather",
    "load_into",
    "open_checkpoint",
    "read_tensors",
    "save_folder",
    "save_tensors",
    "to_ours",
    "to_theirs",
]
