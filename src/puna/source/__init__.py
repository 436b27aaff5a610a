"""From what a user names to the files of a model (no torch)."""

from puna.source.base import compare_base
from puna.source.catalog import CatalogEntry, bases, find_entry, known_models
from puna.source.ollama import OllamaModel
from puna.source.places import builtin_names, resolve, resolve_adapter, verify_source
from puna.source.pulling import Pulled, pull, resolve_or_pull
from puna.source.pushing import PushPlan, plan_push, push
from puna.source.read import find_license, read_json
from puna.source.record import Source
from puna.source.remote import Outline, outline
from puna.source.removing import Removal, plan_removal, remove
from puna.source.stock import Item, inventory
from puna.source.units import human_bytes

__all__ = [
    "CatalogEntry",
    "Item",
    "OllamaModel",
    "Outline",
    "Pulled",
    "PushPlan",
    "Removal",
    "Source",
    "bases",
    "builtin_names",
    "compare_base",
    "find_entry",
    "find_license",
    "human_bytes",
    "inventory",
    "known_models",
    "outline",
    "plan_push",
    "plan_removal",
    "pull",
    "push",
    "read_json",
    "remove",
    "resolve",
    "resolve_adapter",
    "resolve_or_pull",
    "verify_source",
]
