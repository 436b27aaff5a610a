"""The command line: one file per command; parse, call, print. Imports no torch itself."""

from puna.cli.app import app, main

__all__ = ["app", "main"]
