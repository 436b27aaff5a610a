"""Bytes of model files: headers and spans, checked before anything is allocated (no torch)."""

from puna.formats.atomic import check_writable, write_atomic
from puna.formats.jsonl import read_lines
from puna.formats.safetensors import TensorRef, read_header, write_header
from puna.formats.shards import read_index

__all__ = [
    "TensorRef",
    "check_writable",
    "read_header",
    "read_index",
    "read_lines",
    "write_atomic",
    "write_header",
]
