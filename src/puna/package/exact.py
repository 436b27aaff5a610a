"""In what a model is opened when it is to be written again."""

from __future__ import annotations

from pathlib import Path

from puna.formats import GGML_TYPES, is_gguf, read_gguf, read_packing
from puna.loading import DType
from puna.source import read_json


def opening_dtype(path: Path) -> DType:
    """Return float32 for a model with quantized weights, and `auto` for every other model.

    The values of blocks, and of weights that Puna packed, are float32. Unpacked to bfloat16, as for
    chat, they would be rounded before they are rounded to the type that is written, and a file of
    type f32 would not hold what the file it came from says.

    Raises:
        SourceError, FormatError, ConfigError: what cannot be read.
    """
    if not is_gguf(path):
        config = read_json(path / "config.json", what="model config")
        return "auto" if read_packing(config) is None else "float32"
    kinds = {ref.dtype for ref in read_gguf(path).tensors.values()}
    return "float32" if any(GGML_TYPES[kind].values > 1 for kind in kinds) else "auto"
