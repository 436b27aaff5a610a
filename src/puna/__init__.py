"""Puna: from an open language model and your data to a specialist you own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from puna.errors import PunaError

if TYPE_CHECKING:
    from puna.generate import Generation, LanguageModel, Options, Score, load

__version__ = "0.1.0"
__all__ = ["Generation", "LanguageModel", "Options", "PunaError", "Score", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the model's side only when it is asked for: `import puna` stays free of torch."""
    if name in __all__:
        from puna import generate

        return getattr(generate, name)
    raise AttributeError(f"module 'puna' has no attribute {name!r}")
