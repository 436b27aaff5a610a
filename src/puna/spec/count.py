"""Parameters and cache bytes from a spec alone, before any tensor exists."""

from __future__ import annotations

from puna.spec.axes import Attention, Dense, LayerSpec, ModelSpec, MoE, Norm


def count_parameters(spec: ModelSpec, *, active: bool = False) -> int:
    """Return the number of parameters; `active` counts only the experts one token uses."""
    total = spec.vocab * spec.width + _norm(spec.final_norm, spec.width)
    if spec.embed.norm:
        total += _norm(spec.embed.norm, spec.width)
    if spec.embed.positions:
        total += (spec.embed.positions.rows + spec.embed.positions.offset) * spec.width
    if not spec.head.tied:
        total += spec.vocab * spec.width
    if spec.head.bias:
        total += spec.vocab
    return total + sum(_layer(layer, spec.width, active) for layer in spec.layers)


def kv_bytes_per_token(spec: ModelSpec, *, bytes_per_value: int) -> int:
    """Return the cache one token needs over all layers, in bytes, windows ignored."""
    return sum(2 * layer.mixer.kv_width * bytes_per_value for layer in spec.layers)


def _layer(layer: LayerSpec, width: int, active: bool) -> int:
    norms = 1 if layer.residual == "parallel_shared" else 2
    return (
        norms * _norm(layer.norm, width)
        + _attention(layer.mixer, width)
        + _ffn(layer.ffn, width, active)
    )


def _norm(norm: Norm, width: int) -> int:
    return width * (2 if norm.bias else 1)


def _attention(a: Attention, width: int) -> int:
    rows = a.q_width + 2 * a.kv_width
    return (
        rows * (width + (1 if a.qkv_bias else 0)) + a.q_width * width + (width if a.out_bias else 0)
    )


def _ffn(ffn: Dense | MoE, width: int, active: bool) -> int:
    if isinstance(ffn, MoE):
        experts = ffn.top_k if active else ffn.experts
        return experts * _ffn(ffn.expert, width, active) + ffn.experts * width
    ups = 2 if ffn.gated else 1
    bias = ups * ffn.width + width if ffn.bias else 0
    return (ups + 1) * ffn.width * width + bias
