"""GGUF: one record per architecture, metadata to configs and specs to metadata."""

from puna.families.gguf.convert import (
    check_same,
    config_of,
    gguf_config,
    gguf_metadata,
    gguf_names,
    gguf_notes,
    gguf_tables,
    known_architectures,
    open_config,
)

__all__ = [
    "check_same",
    "config_of",
    "gguf_config",
    "gguf_metadata",
    "gguf_names",
    "gguf_notes",
    "gguf_tables",
    "known_architectures",
    "open_config",
]
