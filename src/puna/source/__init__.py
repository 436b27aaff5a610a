"""From what a user names to the files of a model (no torch)."""

from puna.source.places import Source, builtin_names, find_license, read_json, resolve

__all__ = ["Source", "builtin_names", "find_license", "read_json", "resolve"]
