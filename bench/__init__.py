"""Measurements: each command prints figures and the command that reproduces them."""
