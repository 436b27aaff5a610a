"""In what a model is opened when it is to be written again."""

from __future__ import annotations

from pathlib import Path

from puna.formats import GGML_TYPES, is_gguf, read_gguf
from puna.loading import DType


def opening_dtype(path: Path) -> DType:
    """Return float32 for a GGUF file with quantized weights, and `auto` for every other model.

    The values of blocks are float32. Unpacked to bfloat16, as for chat, they would be rounded
    before they are rounded to the type that is written, and a file of type f32 would not hold
    what the file it came from says.

    Raises:
        SourceError, FormatError: a GGUF file that cannot be read.
    """
    if not is_gguf(path):
        return "auto"
    kinds = {ref.dtype for ref in read_gguf(path).tensors.values()}
    return "float32" if any(GGML_TYPES[kind].values > 1 for kind in kinds) else "auto"
