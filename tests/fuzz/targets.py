"""The table of targets: where each is made, and whose code guides the search.

A target's module is imported only in its own process, so that the code under test is instrumented
as it is imported.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import Target


@dataclass(frozen=True, slots=True)
class Entry:
    """A target that is made by `function` of `module`; `instrument` are packages and modules."""

    module: str
    function: str
    instrument: tuple[str, ...]

    def open(self, folder: Path) -> Target:
        """Import the module and make the target, whose files go into `folder`."""
        target: Target = getattr(importlib.import_module(self.module), self.function)(folder)
        return target


_FORMATS = ("puna.formats",)
_WEIGHTS = ("puna.formats", "puna.weights")
_TEXT = ("puna.text", "puna.formats")
# Without the meter, whose loops would take most of the time.
_JINJA = ("jinja2.parser", "puna.text.sandbox", "puna.text.guards", "puna.text.rewrite")
TARGETS = {
    "safetensors": Entry("tests.fuzz.on_headers", "safetensors", _FORMATS),
    "index": Entry("tests.fuzz.on_weights", "index", _WEIGHTS),
    "config": Entry("tests.fuzz.on_configs", "config", ("puna.families", "puna.source.read")),
    "gguf": Entry("tests.fuzz.on_configs", "gguf", (*_TEXT, "puna.families")),
    "template": Entry("tests.fuzz.on_text", "jinja", _JINJA),
    "gotmpl": Entry("tests.fuzz.on_text", "go", ("puna.text.gotmpl", "puna.text.running")),
    "tokenizer": Entry("tests.fuzz.on_text", "tokenizer", _TEXT),
    "sentencepiece": Entry("tests.fuzz.on_text", "sentencepiece_", _TEXT),
    "pickle": Entry("tests.fuzz.on_weights", "pickle", _WEIGHTS),
    "seal": Entry("tests.fuzz.on_seals", "seal", ("puna.seal",)),
    "adapter": Entry("tests.fuzz.on_weights", "adapter", (*_WEIGHTS, "puna.adapter")),
}
