"""Your examples → batches: readers, the loss mask, ragged packing, an order that repeats."""

from puna.data.batches import Batch, collate, fingerprint, order
from puna.data.encode import Encoded, encode_all
from puna.data.examples import Conversation, Example, Passage, read_examples

__all__ = [
    "Batch",
    "Conversation",
    "Encoded",
    "Example",
    "Passage",
    "collate",
    "encode_all",
    "fingerprint",
    "order",
    "read_examples",
]
