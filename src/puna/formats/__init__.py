"""Bytes of model files: headers and spans, checked before anything is allocated (no torch)."""

from puna.formats.atomic import check_writable, write_atomic
from puna.formats.ggml import GGML_TYPES, GgmlType
from puna.formats.gguf import (
    Gguf,
    count_types,
    find_gguf,
    is_gguf,
    read_floats,
    read_gguf,
    read_gguf_part,
)
from puna.formats.gguf_write import Typed, padding, tensor_bytes, write_gguf_header
from puna.formats.jsonl import read_lines
from puna.formats.safetensors import TensorRef, read_header, write_header
from puna.formats.shards import read_index

__all__ = [
    "GGML_TYPES",
    "GgmlType",
    "Gguf",
    "TensorRef",
    "Typed",
    "check_writable",
    "count_types",
    "find_gguf",
    "is_gguf",
    "padding",
    "read_floats",
    "read_gguf",
    "read_gguf_part",
    "read_header",
    "read_index",
    "read_lines",
    "tensor_bytes",
    "write_atomic",
    "write_gguf_header",
    "write_header",
]
