"""Bytes of model files: headers and spans, checked before anything is allocated (no torch)."""

from puna.formats.archives import UNPACK, archive_kind, find_archive, named_archive
from puna.formats.atomic import check_writable, write_atomic
from puna.formats.folder import check_folder
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
    "UNPACK",
    "GgmlType",
    "Gguf",
    "TensorRef",
    "Typed",
    "archive_kind",
    "check_folder",
    "check_writable",
    "count_types",
    "find_archive",
    "find_gguf",
    "is_gguf",
    "named_archive",
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
