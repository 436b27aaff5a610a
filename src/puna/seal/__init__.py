"""The seal: what a saved model is held against, to show that it is still the one that was tuned.

A seal has digests of tokenizer, template and weights, the axes of the decoder, and golden prompts
with the ids they had and the likeliest next tokens. Loading checks the digests; saving, merging,
exporting, verifying and the start of a server run the prompts.
"""

from puna.seal.agree import moved
from puna.seal.axes import axes_of
from puna.seal.bits import bits_of, main_format
from puna.seal.digests import (
    FILE,
    KEY,
    SEAL_KEY,
    break_seal,
    check_text,
    digests_of,
    digests_of_gguf,
    read_gguf_seal,
    read_seal,
)
from puna.seal.judge import FAULTS, Check, Limit, limit_of
from puna.seal.make import put_seal, seal_of
from puna.seal.prompts import golden_prompts
from puna.seal.record import Seal, Stop, from_json
from puna.seal.stop import measure_stop
from puna.seal.verify import Seals, Verification, check_digests, compare, verify

__all__ = [
    "FAULTS",
    "FILE",
    "KEY",
    "SEAL_KEY",
    "Check",
    "Limit",
    "Seal",
    "Seals",
    "Stop",
    "Verification",
    "axes_of",
    "bits_of",
    "break_seal",
    "check_digests",
    "check_text",
    "compare",
    "digests_of",
    "digests_of_gguf",
    "from_json",
    "golden_prompts",
    "limit_of",
    "main_format",
    "measure_stop",
    "moved",
    "put_seal",
    "read_gguf_seal",
    "read_seal",
    "seal_of",
    "verify",
]
