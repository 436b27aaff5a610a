"""Changes that keep the form of a file, so that what lies behind its form is reached."""

from tests.fuzz.mutators.gguf import GgufMutator
from tests.fuzz.mutators.pickles import mutate_pickle
from tests.fuzz.mutators.proto import mutate_proto
from tests.fuzz.mutators.trees import TreeMutator, mutate_header, two_parts
from tests.fuzz.mutators.words import WordMutator

__all__ = [
    "GgufMutator",
    "TreeMutator",
    "WordMutator",
    "mutate_header",
    "mutate_pickle",
    "mutate_proto",
    "two_parts",
]
