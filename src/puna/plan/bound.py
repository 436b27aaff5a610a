"""What serving needs at most, in microseconds and without a trace.

A start need not wait for a trace where even this fits. Every term is rounded up; tests hold the
bound against the trace over all families.
"""

from __future__ import annotations

from dataclasses import dataclass

from puna.engine import PAGE, USUAL
from puna.plan.record import Serve
from puna.spec import Alibi, Attention, Dense, LayerSpec, ModelSpec, MoE

# Entries of a mask or of scores that `puna.model.attend` holds at a time, and the bytes of each:
# distances in 64 bits, what is seen, the mask, and scores in float32 before and after a softmax.
_MASK_ENTRIES, _MASK_BYTES = 1 << 22, 40
_WIDE = 4  # bytes of float32


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept in memory.

    Args:
        size: bytes of a value.
        widened: whether products are computed in float32.
        rounded: whether keys and values are kept in 8 bits.
    """

    size: int
    widened: bool = False
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the engine: new tokens, tokens in the cache, logits, the longest sequence."""

    rows: int
    tokens: int
    due: int
    longest: int


def largest_step(use: Serve) -> Step:
    """Return a step that is at least as large as any of a use."""
    due = due_of(use.batch)
    rows = min(use.chunk, use.context) + due
    return Step(rows, use.batch * (use.context + PAGE), due, use.context)


def due_of(sequences: int) -> int:
    """Return the logits that a step of up to so many sequences needs, drafts included."""
    return max(sequences, min(sequences, USUAL.busy) * (1 + USUAL.most))


def step_bound(spec: ModelSpec, step: Step, kept: Kept) -> int:
    """Return bytes that no such step goes beyond, beside weights and cache."""
    head = step.due * spec.vocab * (2 * kept.size + 5 * _WIDE)
    index = 8 * (2 * step.tokens + 16 * step.rows)
    stream = 4 * step.rows * spec.width * (kept.size + _WIDE)
    layers = (_layer(layer, spec.width, step, kept) for layer in set(spec.layers))
    return max(layers) + head + index + stream + _widened(spec, kept)


def _layer(layer: LayerSpec, width: int, step: Step, kept: Kept) -> int:
    mixer, ffn = layer.mixer, layer.ffn
    values = 4 * width + 4 * (mixer.q_width + mixer.kv_heads * (mixer.head_dim + mixer.v_dim))
    values += 2 * mixer.heads * mixer.v_dim
    if isinstance(ffn, MoE):
        routed = 8 * ffn.experts * _WIDE + 2 * width * _WIDE + 40 * ffn.top_k
        expert = max(_dense(ffn.expert), _dense(ffn.shared) if ffn.shared else 0) + 4 * width
        inner = routed + expert * (kept.size + _WIDE)
    else:
        inner = _dense(ffn) * (kept.size + (_WIDE if kept.widened else 0))
    one = max(values * (kept.size + _WIDE), inner + 4 * width * (kept.size + _WIDE))
    return step.rows * one + _gathered(mixer, step, kept) + _masks(mixer, step)


def _dense(dense: Dense) -> int:
    return (6 if dense.gate else 4) * dense.width


def _read(mixer: Attention, step: Step) -> int:
    """Return the keys that a step reads; pieces of a long chunk each read the window before."""
    return step.tokens + (2 * step.rows if mixer.window else 0)


def _gathered(mixer: Attention, step: Step, kept: Kept) -> int:
    """Return what one layer's keys and values take once they are laid out for its heads."""
    each = mixer.kv_heads * (mixer.head_dim + mixer.v_dim)
    # Codes are read, and multiplied by their scales in float32.
    return _read(mixer, step) * each * (kept.size + (1 + _WIDE if kept.rounded else 0))


def _masks(mixer: Attention, step: Step) -> int:
    """Return what masks and scores take; a block has one query of each sequence at least."""
    entries = max(_MASK_ENTRIES, _read(mixer, step) * mixer.heads)
    bias = 6 * _WIDE * mixer.heads * step.longest if isinstance(mixer.position, Alibi) else 0
    return entries * _MASK_BYTES + bias


def _widened(spec: ModelSpec, kept: Kept) -> int:
    """Return what the widest weight takes once more in float32, where products need that."""
    if not kept.widened:
        return 0
    matrices = [spec.vocab * spec.width]
    for layer in set(spec.layers):
        dense = layer.ffn.expert if isinstance(layer.ffn, MoE) else layer.ffn
        mixer = layer.mixer
        matrices.append(2 * dense.width * spec.width)
        matrices.append((mixer.q_width + 2 * mixer.kv_heads * mixer.head_dim) * spec.width)
    return max(matrices) * _WIDE
