"""Parameters and cache bytes from a spec alone, before any tensor exists."""

from __future__ import annotations

from puna.spec.axes import Attention, Dense, Latent, LayerSpec, ModelSpec, MoE, Norm


def count_parameters(spec: ModelSpec, *, active: bool = False) -> int:
    """Return the number of parameters; `active` counts only the experts one token uses."""
    return (
        _ends(spec)
        + _norm(spec.final_norm, spec.width)
        + sum(_layer(layer, spec.width, active) for layer in spec.layers)
    )


def kv_bytes_per_token(spec: ModelSpec, *, bytes_per_value: int, per_head: int = 0) -> int:
    """Return the cache one token needs over all layers, in bytes, windows ignored.

    Args:
        spec: of the model.
        bytes_per_value: what a number takes.
        per_head: what a head's key, or its value, takes beside its numbers.
    """
    return sum(
        layer.mixer.kv_heads
        * ((layer.mixer.head_dim + layer.mixer.v_dim) * bytes_per_value + 2 * per_head)
        for layer in spec.layers
    )


def _ends(spec: ModelSpec) -> int:
    """Count what stands before the first block and after the last norm."""
    embed, head = spec.embed, spec.head
    total = spec.vocab * (embed.width or spec.width) + _norm(embed.norm, spec.width)
    if embed.positions:
        total += (embed.positions.rows + embed.positions.offset) * spec.width
    if not head.tied:
        total += spec.vocab * (head.width or spec.width)
    if head.bias:
        total += spec.vocab
    return total + sum(width * spec.width for width in (embed.width, head.width) if width)


def _layer(layer: LayerSpec, width: int, active: bool) -> int:
    norms = 1 if layer.residual == "parallel_shared" else 2
    norms = 4 if layer.placement == "sandwich" else norms
    return (
        norms * _norm(layer.norm, width)
        + _attention(layer.mixer, width)
        + _ffn(layer.ffn, width, active)
    )


def _norm(norm: Norm | None, width: int) -> int:
    if norm is None or norm.gain == "none":
        return 0
    return width * (2 if norm.bias else 1)


def _linear(inputs: int, outputs: int, bias: bool) -> int:
    return outputs * (inputs + bias)


def _attention(a: Attention, width: int) -> int:
    total = _linear(a.heads * a.v_dim, width, a.out_bias)
    total += a.heads if a.sinks else 0
    if isinstance(a.qkv, Latent):
        return total + _latent(a, a.qkv, width)
    total += _linear(width, a.q_width + 2 * a.kv_width, a.qkv_bias)
    if a.qk_norm is None:
        return total
    q, k = (a.head_dim,) * 2 if a.qk_norm.over == "head" else (a.q_width, a.kv_width)
    return total + _norm(a.qk_norm.norm, q) + _norm(a.qk_norm.norm, k)


def _latent(a: Attention, latent: Latent, width: int) -> int:
    kv = _linear(width, latent.kv_rank + latent.rope_dim, latent.bias)
    kv += _norm(latent.norm, latent.kv_rank)
    kv += latent.kv_rank * a.heads * (a.head_dim - latent.rope_dim + a.v_dim)
    if latent.q_rank is None:
        return kv + width * a.q_width
    down = _linear(width, latent.q_rank, latent.bias) + _norm(latent.norm, latent.q_rank)
    return kv + down + latent.q_rank * a.q_width


def _ffn(ffn: Dense | MoE | None, width: int, active: bool) -> int:
    if ffn is None:
        return 0
    if isinstance(ffn, MoE):
        experts = ffn.top_k if active else ffn.experts
        router = _linear(width, ffn.experts, ffn.router.bias)
        router += ffn.experts if ffn.router.correction else 0
        shared = _ffn(ffn.shared, width, active)
        return experts * _ffn(ffn.expert, width, active) + router + shared
    ups = 1 if ffn.gate is None else 2
    return _linear(width, ups * ffn.width, ffn.bias) + _linear(ffn.width, width, ffn.bias)
