"""The decoder: one ragged forward for training and serving. It knows axes, never families.

    decoder(ids[N], positions[N], ctx) → hidden[N, D]      head(hidden[R, D], rows) → logits[R, V]

N tokens of any number of sequences, flat: no padding and no batch axis. `Context` says which
tokens see which. What is computed in what: products in the dtype of the weights; norm statistics,
rotary angles, softmax, router and logits in float32.
"""

from puna.model.attend import AttentionRule, attend
from puna.model.context import Context, Rows
from puna.model.decoder import Decoder, OutputHead, build
from puna.model.ffn import Mixture
from puna.model.initialize import initialize
from puna.model.linear import Linear, add_updates, is_fast, product
from puna.model.segments import Segments
from puna.model.states import hidden_states

__all__ = [
    "AttentionRule",
    "Context",
    "Decoder",
    "Linear",
    "Mixture",
    "OutputHead",
    "Rows",
    "Segments",
    "add_updates",
    "attend",
    "build",
    "hidden_states",
    "initialize",
    "is_fast",
    "product",
]
