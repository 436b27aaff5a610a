"""The joint of text and engine: `puna.load` and the `LanguageModel` it returns."""

from puna.generate.model import LanguageModel
from puna.generate.opening import load
from puna.generate.options import Generation, Limits, Options, Score

__all__ = ["Generation", "LanguageModel", "Limits", "Options", "Score", "load"]
