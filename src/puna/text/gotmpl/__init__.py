"""Go's text/template, as far as chat templates use it: parsed here, run here, nothing executed.

`lexer` and `parser` make a tree, `evaluator` walks it under the meter, `values` and `functions`
are the language's values and built-ins, `ollama` is the shape that Ollama gives a conversation.
"""

from __future__ import annotations

from puna.text.gotmpl.lexer import GoSyntaxError
from puna.text.gotmpl.ollama import GoProgram

__all__ = ["GoProgram", "GoSyntaxError"]
