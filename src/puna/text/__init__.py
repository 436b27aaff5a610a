"""Text and ids: tokenizer, chat template, loss mask, stop text, incremental decoding (no torch)."""

from __future__ import annotations

from puna.text.chat import ChatTemplate, Rendered
from puna.text.formats import format_names
from puna.text.gguf_write import GgufText, gguf_text, gguf_text_again
from puna.text.mask import mask_of, special_pattern
from puna.text.messages import Message
from puna.text.meter import Limits
from puna.text.opening import open_tokenizer
from puna.text.parts import TextParts, text_of_folder, text_of_gguf
from puna.text.specials import Specials, read_specials, save_specials
from puna.text.stop import StopWatch
from puna.text.stream import Detokenizer, TextStream
from puna.text.template_files import load_template, open_template, save_template
from puna.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer, specials_of
from puna.text.watch import TextWatch

__all__ = [
    "ChatTemplate",
    "Detokenizer",
    "GgufText",
    "Limits",
    "Message",
    "Rendered",
    "Specials",
    "StopWatch",
    "TextParts",
    "TextStream",
    "TextWatch",
    "Tokenizer",
    "format_names",
    "gguf_text",
    "gguf_text_again",
    "load_template",
    "load_tokenizer",
    "mask_of",
    "open_template",
    "open_tokenizer",
    "read_specials",
    "save_specials",
    "save_template",
    "save_tokenizer",
    "special_pattern",
    "specials_of",
    "text_of_folder",
    "text_of_gguf",
]
