"""Text and ids: tokenizer, chat template, loss mask, stop text, incremental decoding (no torch)."""

from __future__ import annotations

from puna.text.chat import ChatTemplate, Rendered, load_template, save_template
from puna.text.gguf_vocab import specials_from_gguf, tokenizer_from_gguf
from puna.text.gguf_write import GgufText, gguf_text, gguf_text_again
from puna.text.messages import Message
from puna.text.meter import Limits
from puna.text.opening import open_tokenizer
from puna.text.specials import Specials, read_specials
from puna.text.stop import StopWatch
from puna.text.stream import Detokenizer, TextStream
from puna.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer

__all__ = [
    "ChatTemplate",
    "Detokenizer",
    "GgufText",
    "Limits",
    "Message",
    "Rendered",
    "Specials",
    "StopWatch",
    "TextStream",
    "Tokenizer",
    "gguf_text",
    "gguf_text_again",
    "load_template",
    "load_tokenizer",
    "open_tokenizer",
    "read_specials",
    "save_template",
    "save_tokenizer",
    "specials_from_gguf",
    "tokenizer_from_gguf",
]
