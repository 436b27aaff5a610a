"""Training of whatever parameters of a decoder are set to learn, resumable to the step."""

from puna.tune.checkpoint import has_checkpoint
from puna.tune.loop import Step, train
from puna.tune.settings import Settings

__all__ = ["Settings", "Step", "has_checkpoint", "train"]
