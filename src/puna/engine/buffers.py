"""The matrices that a lowered model works in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from puna.engine.emit import At
from puna.spec import Attention, Dense, Latent, ModelSpec, MoE


class Buffer(NamedTuple):
    """A matrix of float32: its columns, and the rows that a token has."""

    columns: int
    each: int = 1


def buffers_of(spec: ModelSpec, rank: int = 1) -> tuple[Buffer, ...]:
    """Return the buffers; the last two are of the rows that are due.

    Args:
        spec: of a model that can be lowered.
        rank: the largest of its adapters.
    """
    mixers = [layer.mixer for layer in spec.layers]
    mixtures = [layer.ffn for layer in spec.layers if isinstance(layer.ffn, MoE)]
    dense = [layer.ffn for layer in spec.layers if isinstance(layer.ffn, Dense)]
    dense += [moe.shared for moe in mixtures if moe.shared is not None]
    narrow = max(spec.embed.width or 1, spec.head.width or 1)
    qkv = max(m.q_width + m.kv_heads * (m.head_dim + m.v_dim) for m in mixers)
    seen = max(m.heads * m.v_dim for m in mixers)
    experts, top_k = most_experts(spec)
    width = spec.width
    return (
        *map(Buffer, (width, width, width, qkv, seen, _inner(dense), width, rank, narrow)),
        Buffer(max(map(_middle, mixers))),
        Buffer(max(map(_raw, mixers))),
        Buffer(experts),
        Buffer(top_k),
        Buffer(_inner([moe.expert for moe in mixtures]), top_k),
        Buffer(width if mixtures else 0, top_k),
        Buffer(rank if mixtures else 0, top_k),
        Buffer(width),
        Buffer(spec.vocab),
    )


# In the order of `buffers_of`.
X, NORMED, OTHER, QKV, SEEN, INNER, HALF, LOW, TABLE = map(At, range(9))
MIDDLE, RAW, SCORES, GATES = map(At, range(9, 13))
EXPERT_INNER, EXPERT_OUT, EXPERT_LOW, DUE_STATES, LOGITS = map(At, range(13, 18))


def most_experts(spec: ModelSpec) -> tuple[int, int]:
    """Return the most experts of a layer, and picks of a token."""
    mixtures = [layer.ffn for layer in spec.layers if isinstance(layer.ffn, MoE)]
    experts = max((moe.experts for moe in mixtures), default=0)
    return experts, max((moe.top_k for moe in mixtures), default=0)


def _inner(dense: Sequence[Dense]) -> int:
    return max(((2 if ffn.gate else 1) * ffn.width for ffn in dense), default=0)


def _middle(mixer: Attention) -> int:
    if not isinstance(mixer.qkv, Latent):
        return 0
    return max(mixer.qkv.q_rank or 0, mixer.qkv.kv_rank + mixer.qkv.rope_dim)


def _raw(mixer: Attention) -> int:
    if not isinstance(mixer.qkv, Latent):
        return 0
    still = mixer.head_dim - mixer.qkv.rope_dim
    return mixer.heads * max(mixer.head_dim, still + mixer.v_dim)
