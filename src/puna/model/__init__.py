"""The decoder: one ragged forward for training and serving. It knows axes, never families.

    decoder(ids[N], positions[N], ctx) → hidden[N, D]      head(hidden[R, D], rows) → logits[R, V]

N tokens of any number of sequences, flat: no padding and no batch axis. `Context` says which
tokens see which. What is computed in what: products in the dtype of the weights; norm statistics,
rotary angles, softmax, router and logits in float32.
"""

from puna.model.attend import AttentionRule, alibi_slopes, attend
from puna.model.attention import Attention, FusedQKV, LatentQKV, SplitQKV
from puna.model.context import Context, Rows
from puna.model.decoder import (
    Decoder,
    OutputHead,
    ParallelBlock,
    SequentialBlock,
    SumNormBlock,
    Times,
    build,
)
from puna.model.fast import is_fast
from puna.model.ffn import FusedGatedFFN, GatedFFN, Mixture, PlainFFN
from puna.model.initialize import initialize
from puna.model.linear import Linear, Weight, add_updates, lookup, numbers, product
from puna.model.native import NativeWeight, operands, threads
from puna.model.norm import LayerNorm, OnePlusRMSNorm, RMSNorm
from puna.model.packed import KERNELS, PLAIN, Kernel, PackedWeight, choose_kernel
from puna.model.position import RotaryTable
from puna.model.segments import Segments
from puna.model.states import hidden_states

__all__ = [
    "KERNELS",
    "PLAIN",
    "Attention",
    "AttentionRule",
    "Context",
    "Decoder",
    "FusedGatedFFN",
    "FusedQKV",
    "GatedFFN",
    "Kernel",
    "LatentQKV",
    "LayerNorm",
    "Linear",
    "Mixture",
    "NativeWeight",
    "OnePlusRMSNorm",
    "OutputHead",
    "PackedWeight",
    "ParallelBlock",
    "PlainFFN",
    "RMSNorm",
    "RotaryTable",
    "Rows",
    "Segments",
    "SequentialBlock",
    "SplitQKV",
    "SumNormBlock",
    "Times",
    "Weight",
    "add_updates",
    "alibi_slopes",
    "attend",
    "build",
    "choose_kernel",
    "hidden_states",
    "initialize",
    "is_fast",
    "lookup",
    "numbers",
    "operands",
    "product",
    "threads",
]
