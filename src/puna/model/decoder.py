"""Blocks and their sum: the forward that training and serving share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.attention import Attention, Table
from puna.model.context import Context, Rows
from puna.model.ffn import Mixture, build_ffn
from puna.model.linear import Linear, Weight, add_updates, lookup, product
from puna.model.norm import build_norm
from puna.model.packed import PackedWeight
from puna.model.position import RotaryTable
from puna.spec import Embed, Head, LayerSpec, ModelSpec, Rope


class Times(nn.Module):
    """A fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.factor


class SequentialBlock(nn.Module):
    """x += post(attn(pre(x))); x += post(ffn(pre(x))); each a norm, a factor, or nothing."""

    def __init__(self, spec: LayerSpec, width: int, layer: int) -> None:
        super().__init__()
        before = spec.placement in {"pre", "sandwich"}
        after = spec.placement in {"post", "sandwich"}
        plain = Times(spec.scale) if spec.scale != 1.0 else nn.Identity()
        self.attn_norm = build_norm(spec.norm, width) if before else nn.Identity()
        self.attn = Attention(spec.mixer, width, layer)
        self.attn_post_norm = build_norm(spec.norm, width) if after else plain
        self.ffn_norm = build_norm(spec.norm, width) if before else nn.Identity()
        self.ffn = build_ffn(spec.ffn, width)
        self.ffn_post_norm = build_norm(spec.norm, width) if after else plain

    def forward(self, x: Tensor, table: Table | None, ctx: Context) -> Tensor:
        """Map x [N, width] to [N, width]."""
        x = x + self.attn_post_norm(self.attn(self.attn_norm(x), table, ctx))
        hidden: Tensor = x + self.ffn_post_norm(self.ffn(self.ffn_norm(x), ctx.rows))
        return hidden


class SumNormBlock(nn.Module):
    """x = norm(x + attn(x)); x = norm(x + ffn(x)) (Vaswani et al. 2017)."""

    def __init__(self, spec: LayerSpec, width: int, layer: int) -> None:
        super().__init__()
        self.attn = Attention(spec.mixer, width, layer)
        self.attn_norm = build_norm(spec.norm, width)
        self.ffn = build_ffn(spec.ffn, width)
        self.ffn_norm = build_norm(spec.norm, width)

    def forward(self, x: Tensor, table: Table | None, ctx: Context) -> Tensor:
        """Map x [N, width] to [N, width]."""
        x = self.attn_norm(x + self.attn(x, table, ctx))
        hidden: Tensor = self.ffn_norm(x + self.ffn(x, ctx.rows))
        return hidden


class ParallelBlock(nn.Module):
    """x += attn(a(x)) + ffn(b(x)), where a and b may be one norm (Wang & Komatsuzaki 2021)."""

    def __init__(self, spec: LayerSpec, width: int, layer: int) -> None:
        super().__init__()
        self.attn_norm = build_norm(spec.norm, width)
        self.attn = Attention(spec.mixer, width, layer)
        split = spec.residual == "parallel_split"
        self.ffn_norm = build_norm(spec.norm, width) if split else None
        self.ffn = build_ffn(spec.ffn, width)

    def forward(self, x: Tensor, table: Table | None, ctx: Context) -> Tensor:
        """Map x [N, width] to [N, width]."""
        normed = self.attn_norm(x)
        other = normed if self.ffn_norm is None else self.ffn_norm(x)
        hidden: Tensor = x + self.attn(normed, table, ctx) + self.ffn(other, ctx.rows)
        return hidden


class Embedding(nn.Module):
    """Token vectors, with the positions and the norm some models add to them."""

    tokens: nn.Parameter | PackedWeight

    def __init__(self, spec: Embed, vocab: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocab, spec.width or width))
        self.widen = nn.Parameter(torch.empty(width, spec.width)) if spec.width else None
        self.norm = build_norm(spec.norm, width) if spec.norm else None
        rows = spec.positions.rows + spec.positions.offset if spec.positions else 0
        self.positions = nn.Parameter(torch.empty(rows, width)) if spec.positions else None
        self.offset = spec.positions.offset if spec.positions else 0
        self.scale = spec.scale

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Map ids [N] to [N, width]."""
        x = lookup(ids, self.tokens)
        if self.scale != 1.0:
            # Rounded to the dtype first, as the published models do.
            x = x * torch.tensor(self.scale, dtype=x.dtype, device=x.device)
        if self.widen is not None:
            x = product(x, self.widen, None)
        if self.positions is not None:
            x = x + F.embedding(positions + self.offset, self.positions)
        return x if self.norm is None else self.norm(x)


class OutputHead(nn.Module):
    """Logits in float32; a tied head borrows the token table and holds no weight of its own.

    `updates` is for adapters, keyed by their slot.
    """

    weight: nn.Parameter | PackedWeight | None

    def __init__(self, spec: Head, vocab: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Parameter(torch.empty(spec.width, width)) if spec.width else None
        inner = spec.width or width
        self.weight = None if spec.tied else nn.Parameter(torch.empty(vocab, inner))
        self.bias = nn.Parameter(torch.empty(vocab)) if spec.bias else None
        self.updates = nn.ModuleDict()
        self.scale, self.softcap = spec.scale, spec.softcap

    def forward(self, hidden: Tensor, tokens: Weight, rows: Rows) -> Tensor:
        """Map hidden [R, width] to [R, vocab]; `tokens` [vocab, width] serves a tied head."""
        if self.narrow is not None:
            hidden = product(hidden, self.narrow, None)
        weight = tokens if self.weight is None else self.weight
        logits = product(hidden, weight, self.bias)
        logits = add_updates(logits, hidden, self.updates, rows).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is None:
            return logits
        return self.softcap * torch.tanh(logits / self.softcap)


class Decoder(nn.Module):
    """A decoder built from its spec, empty until weights are loaded or initialized."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.embed = Embedding(spec.embed, spec.vocab, spec.width)
        self.layers = nn.ModuleList(
            _build_block(layer, spec.width, index) for index, layer in enumerate(spec.layers)
        )
        self.norm = build_norm(spec.final_norm, spec.width) if spec.final_norm else nn.Identity()
        self.output = OutputHead(spec.head, spec.vocab, spec.width)
        positions = [layer.mixer.position for layer in spec.layers]
        ropes = list(dict.fromkeys(p for p in positions if isinstance(p, Rope)))
        self.tables = [RotaryTable(rope) for rope in ropes]
        self.table_of = [ropes.index(p) if isinstance(p, Rope) else None for p in positions]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.tokens.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of activations."""
        return self.embed.tokens.dtype

    def forward(self, ids: Tensor, positions: Tensor, ctx: Context) -> Tensor:
        """Return hidden [N, width] for N tokens of any number of sequences.

        Args:
            ids: [N] int64.
            positions: [N] int64, each token's place in its own sequence.
            ctx: which tokens see which, and which adapter each row uses.
        """
        x = self.embed(ids, positions)
        for block in self.blocks(positions, ctx):
            x = block(x)
        hidden: Tensor = self.norm(x)
        return hidden

    def blocks(self, positions: Tensor, ctx: Context) -> Iterator[Callable[[Tensor], Tensor]]:
        """Yield each layer as a map [N, width] to [N, width]; see `forward`."""
        tables = [table(positions, ctx.spans) for table in self.tables]
        for block, index in zip(self.layers, self.table_of, strict=True):
            yield partial(block, table=None if index is None else tables[index], ctx=ctx)

    def head(self, hidden: Tensor, rows: Rows) -> Tensor:
        """Return float32 logits [R, vocab] for hidden [R, width] and the adapters of these rows."""
        logits: Tensor = self.output(hidden, self.embed.tokens, rows)
        return logits

    def linears(self) -> dict[str, Linear]:
        """Every linear map by its dotted name: what adapters and number formats may replace."""
        return {name: m for name, m in self.named_modules() if isinstance(m, Linear)}

    def packable(self) -> dict[str, bool]:
        """Weights that may be packed, by name, and whether they are the table of tokens.

        Those of all linear maps but routers, where a rounded score may send a token elsewhere; of
        the head, and of the table, which may be the head too.
        """
        maps = [name for name in self.linears() if name.rpartition(".")[2] != "router"]
        head = [] if self.output.weight is None else ["output"]
        found = {f"{name}.weight": False for name in (*maps, *head)}
        return {"embed.tokens": True, **found}


def build(spec: ModelSpec, *, device: str = "meta", dtype: torch.dtype = torch.float32) -> Decoder:
    """Return a decoder whose parameters hold nothing yet; on `meta` they take no memory.

    Routers are float32 whatever `dtype` is: a rounded score may send a token elsewhere.
    """
    with torch.device(device):
        model = Decoder(spec).to(dtype)
    for module in model.modules():
        if isinstance(module, Mixture):
            module.keep_precise()
    return model


def _build_block(spec: LayerSpec, width: int, layer: int) -> nn.Module:
    if spec.residual != "sequential":
        return ParallelBlock(spec, width, layer)
    return (SumNormBlock if spec.placement == "after" else SequentialBlock)(spec, width, layer)
