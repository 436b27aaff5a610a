"""Normalization over the last axis, with statistics in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.spec import Norm


class RMSNorm(nn.Module):
    """`x / rms(x)` times the gain (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [..., width]."""
        return self.weight * F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps).to(x.dtype)


class OnePlusRMSNorm(nn.Module):
    """`x / rms(x) · (1 + weight)`, all of it in float32 (Gemma)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [..., width]."""
        normed = F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps)
        return (normed * (1.0 + self.weight.float())).to(x.dtype)


class LayerNorm(nn.Module):
    """`(x - mean) / std * weight + bias` (Ba et al. 2016); statistics in float32."""

    def __init__(self, width: int, eps: float, *, weight: bool, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width)) if weight else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [..., width]."""
        return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.eps)


def build_norm(norm: Norm, width: int) -> nn.Module:
    """Return the module a `Norm` record describes."""
    if norm.kind == "layer":
        return LayerNorm(width, norm.eps, weight=norm.gain != "none", bias=norm.bias)
    return (OnePlusRMSNorm if norm.gain == "one_plus" else RMSNorm)(width, norm.eps)
