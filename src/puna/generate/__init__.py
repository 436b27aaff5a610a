"""The joint of text and engine: `puna.load` and the `LanguageModel` it returns."""

from puna.generate.model import LanguageModel
from puna.generate.opening import load
from puna.generate.options import Generation, Options, Running, Score

__all__ = ["Generation", "LanguageModel", "Options", "Running", "Score", "load"]
