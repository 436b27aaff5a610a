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
from puna.formats.packing import KEY as PACKING_KEY
from puna.formats.packing import (
    PACKINGS,
    PARTS,
    QUANTS,
    REPACKED,
    Packing,
    bits_of_packing,
    choose_packing,
    packed_bytes,
    read_packing,
    repacked_bits,
    without_packing,
)
from puna.formats.safetensors import TensorRef, read_header, write_header
from puna.formats.shards import read_index

__all__ = [
    "GGML_TYPES",
    "PACKINGS",
    "PACKING_KEY",
    "PARTS",
    "QUANTS",
    "REPACKED",
    "UNPACK",
    "GgmlType",
    "Gguf",
    "Packing",
    "TensorRef",
    "Typed",
    "archive_kind",
    "bits_of_packing",
    "check_folder",
    "check_writable",
    "choose_packing",
    "count_types",
    "find_archive",
    "find_gguf",
    "is_gguf",
    "named_archive",
    "packed_bytes",
    "padding",
    "read_floats",
    "read_gguf",
    "read_gguf_part",
    "read_header",
    "read_index",
    "read_lines",
    "read_packing",
    "repacked_bits",
    "tensor_bytes",
    "without_packing",
    "write_atomic",
    "write_gguf_header",
    "write_header",
]
