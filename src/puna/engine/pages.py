"""Keys and values of past tokens in pages.

Paged attention (Kwon et al. 2023): a sequence holds pages of fixed size anywhere in one pool.
Layers that see as far as each other form a group: they share page numbers, and a group whose
layers see only a window gives back the pages that have left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.engine.allocator import Allocator
from puna.engine.storage import columns, reserve, scales
from puna.spec import Alibi, Attention, ModelSpec

PAGE = 16

Tables = tuple[list[int], ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of one sequence in one step: `count` of them from position `start`.

    `tables` has, for each group of layers, the pages of the sequence in order; page 0 stands for
    one that no token from `start` on can see.
    """

    tables: tuple[Sequence[int], ...]
    start: int
    count: int
    span: int
    adapter: int | None


class PagePool:
    """The pages of all sequences; page 0 of each group stays zero.

    Storage is reserved once, and its addresses never change. No page that is free or idle holds a
    value that is not finite: a masked key still meets its value in a product, where zero times
    NaN would be NaN.

    Args:
        spec: of the model.
        limit: pages of every group, or of each.
        dtype, device: of the storage; int8 rounds each head's key and value to 8 bits.

    Attributes:
        keys: one tensor [slots, KV, D] per layer; slot = page · PAGE + place in the page. See
            `puna.engine.storage` for 8 bits.
        values: the same of [slots, KV, E].
        windows: for each group, the tokens that a token sees, itself included; None for all.
        group_of: for each layer, its group.
        groups: for each group, who holds which page.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        limit: int | Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        mixers = [layer.mixer for layer in spec.layers]
        self.windows = windows_of(spec)
        self.group_of = groups_of(spec)
        limits = [limit] * len(self.windows) if isinstance(limit, int) else list(limit)
        self.groups = tuple(Allocator(one) for one in limits)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        for mixer, group in zip(mixers, self.group_of, strict=True):
            slots = (limits[group] + 1) * PAGE
            for stores, width in ((self.keys, mixer.head_dim), (self.values, mixer.v_dim)):
                shape = (slots, mixer.kv_heads, columns(width, dtype))
                stores.append(reserve(shape, dtype, device))

    @property
    def bytes_held(self) -> int:
        """What the pages that sequences hold take."""
        return sum(self.page_bytes(n) * group.held for n, group in enumerate(self.groups))

    @property
    def bytes_touched(self) -> int:
        """What the pages that were ever used take: the memory that the pool has."""
        return sum(self.page_bytes(n) * group.touched for n, group in enumerate(self.groups))

    def page_bytes(self, group: int) -> int:
        """Return the bytes of one page of a group, over all of its layers."""
        return sum(store[:PAGE].nbytes for store in self._stores(group))

    @torch.inference_mode()
    def finite(self, group: int, pages: Sequence[int]) -> list[bool]:
        """Tell for each page whether all of its values are finite."""
        if not pages:
            return []
        fine: Tensor | None = None
        for store in self._stores(group):
            chosen = torch.tensor(pages, device=store.device)
            rows = store.unflatten(0, (-1, PAGE)).index_select(0, chosen)  # type: ignore[no-untyped-call]
            told = scales(rows) if store.dtype is torch.int8 else rows
            good = told.isfinite().flatten(1).all(1)
            fine = good if fine is None else fine & good
        assert fine is not None
        return fine.tolist()

    def give_back(self, group: int, pages: Sequence[int]) -> None:
        """Take a holder from each page, the first to be reused first."""
        self._clean(group, self.groups[group].let_go(pages))

    @torch.inference_mode()
    def _clean(self, group: int, freed: Sequence[int]) -> None:
        fine = self.finite(group, freed)
        bad = [page for page, good in zip(freed, fine, strict=True) if not good]
        for store in self._stores(group) if bad else ():
            store.view(-1, PAGE * store[0].numel())[torch.tensor(bad, device=store.device)] = 0

    def _stores(self, group: int) -> list[Tensor]:
        layers = [layer for layer, of in enumerate(self.group_of) if of == group]
        return [store[layer] for layer in layers for store in (self.keys, self.values)]


def windows_of(spec: ModelSpec) -> tuple[int | None, ...]:
    """Return the windows of a model's layers, each once: one group of pages for each."""
    return tuple(dict.fromkeys(_window(layer.mixer) for layer in spec.layers))


def groups_of(spec: ModelSpec) -> tuple[int, ...]:
    """Return the group of each layer, as a place in `windows_of`."""
    windows = windows_of(spec)
    return tuple(windows.index(_window(layer.mixer)) for layer in spec.layers)


def page_limits(spec: ModelSpec, tokens: int, *, sequences: int, chunk: int) -> tuple[int, ...]:
    """Return the pages that each group needs for `tokens` in the cache, for `windows_of`.

    Args:
        spec: of the model.
        tokens: of all sequences together.
        sequences: at once, of which each needs a window.
        chunk: new tokens of a step, which stand beside the windows until it has ended.
    """
    most = -(-tokens // PAGE)
    need = [w and sequences * (-(-w // PAGE) + 2) + -(-chunk // PAGE) for w in windows_of(spec)]
    return tuple(most if pages is None else min(most, pages) for pages in need)


def first_page(position: int, window: int | None) -> int:
    """Return the first page that the token at `position` sees."""
    return 0 if window is None else max(0, position - window + 1) // PAGE


def _window(mixer: Attention) -> int | None:
    # Rounded biases count positions from the start of the sequence, so all of it must stay.
    rounded = isinstance(mixer.position, Alibi) and mixer.position.rounded
    return None if rounded else mixer.window
