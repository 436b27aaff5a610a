"""A model made ready to leave: written in the format of another tool."""

from puna.package.exact import opening_dtype
from puna.package.gguf import GGUF_TYPES, Exported, describe_gguf, export_gguf
from puna.package.safetensors import export_safetensors

__all__ = [
    "GGUF_TYPES",
    "Exported",
    "describe_gguf",
    "export_gguf",
    "export_safetensors",
    "opening_dtype",
]
