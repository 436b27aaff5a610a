"""Random weights for a model that starts from nothing."""

from __future__ import annotations

import math

import torch
from torch import nn

from puna.model.decoder import Decoder
from puna.model.linear import Linear
from puna.model.norm import LayerNorm, OnePlusRMSNorm, RMSNorm


@torch.no_grad()
def initialize(model: Decoder, *, seed: int, std: float = 0.02) -> None:
    """Fill a decoder that is not on `meta`, the same for the same seed.

    Normal with `std`; the maps back into the residual stream are divided by √(2·layers), as in
    GPT-2 (Radford et al. 2019), so that its variance does not grow with depth. Norms start at one.
    """
    generator = torch.Generator().manual_seed(seed)
    depth = 1.0 / math.sqrt(2 * len(model.layers))
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    for name, module in model.named_modules():
        if isinstance(module, RMSNorm | LayerNorm) and module.weight is not None:
            module.weight.fill_(1.0)
        if isinstance(module, OnePlusRMSNorm):
            module.weight.zero_()
        if isinstance(module, Linear | LayerNorm) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, Linear) and name.rpartition(".")[2] in {"out", "down"}:
            assert isinstance(module.weight, nn.Parameter)  # what is packed is not initialized
            module.weight.mul_(depth)
