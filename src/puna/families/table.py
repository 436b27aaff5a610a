"""Tensor names as rows; the inverse, and what an adapter calls a module, are derived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class GroupedQKV:
    """How Falcon, BLOOM and GPT-NeoX store one fused projection: rows grouped by key/value head.

    Their rows are `view(kv_heads, heads_per_kv + 2, head_dim)`: per group all queries, then the
    key, then the value. Ours are all queries, then all keys, then all values.
    """

    kv_heads: int
    heads_per_kv: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Transposed:
    """A matrix stored [in, out], as GPT-2 stores its linear maps."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One of several tensors stored as one: theirs[`index`], of that every `step`th row.

    Rows begin at `start`. `transposed`: what is stored is [in, out] for each expert, and so the
    rows are columns there. A row's `index` is its expert, filled in when the row is spelled out.
    """

    index: int = 0
    start: int = 0
    step: int = 1
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class RopePairs:
    """How GGUF stores q and k of some families: the two dims that turn together are neighbors.

    Their rows are `view(heads, head_dim / 2, 2)`; ours are `view(heads, 2, head_dim / 2)`.
    """

    heads: int


@dataclass(frozen=True, slots=True)
class Raised:
    """A tensor stored with `by` added to every value: norms whose weight counts from one."""

    by: float


@dataclass(frozen=True, slots=True)
class LatentHalves:
    """How GGUF stores the map from a latent to keys and values: two tensors, the keys' transposed.

    They are [heads, rank, keys] and [heads, values, rank]; our rows are, per head, the keys' and
    then the values'. `half` is the one that a stored tensor holds; the weights room joins both.
    """

    heads: int
    keys: int
    values: int
    half: Literal["both", "keys", "values"] = "both"


Layout = GroupedQKV | Transposed | Slice | RopePairs | Raised | LatentHalves | None


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor: its name in the published checkpoint, ours, and how its rows are ordered there.

    `{i}` stands for the layer and `{e}` for the expert; where only our name has an expert, the
    layout is a `Slice`.
    """

    theirs: str
    ours: str
    layout: Layout = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one published tensor goes."""

    theirs: str
    ours: str
    layout: Layout


class NameTable:
    """The rows of one model, spelled out for every layer and expert.

    Args:
        rows: the family's rows.
        layers, experts: how often `{i}` and `{e}` run.
        prefix: a prefix that published checkpoints may leave out of all names but the head's.
        extra: published names that hold nothing to load, each with the reason; one that ends in
            `*` stands for all that begin so.
        spellings: prefixes of other published checkpoints of the family, each with the rows' own.
        renamed: published modules that adapters call by another name today; both are read.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        layers: int,
        experts: int = 0,
        prefix: str = "",
        extra: Mapping[str, str] | None = None,
        spellings: Mapping[str, str] | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self.places = tuple(_spell_out(rows, layers, experts))
        self.prefix = prefix
        self.spellings = dict(spellings or {})
        self._renamed = dict(renamed or {})
        self.extra = {
            pattern.replace("{i}", str(i)): reason
            for pattern, reason in (extra or {}).items()
            for i in range(layers if "{i}" in pattern else 1)
        }
        self._skipped = tuple(name[:-1] for name in self.extra if name.endswith("*"))
        self._by_theirs: dict[str, tuple[Place, ...]] = {}
        for place in self.places:
            self._by_theirs[place.theirs] = (*self._by_theirs.get(place.theirs, ()), place)
        self._by_ours = {place.ours: place for place in self.places}

    @property
    def partial(self) -> bool:
        """True where checkpoints may hold whole parts that are not read."""
        return bool(self._skipped)

    def leaves_out(self, name: str) -> bool:
        """Tell whether a published tensor or module is of a part that is not read."""
        return name.startswith(self._skipped)

    def by_theirs(self, name: str) -> tuple[Place, ...]:
        """Return the places of a published tensor: none where no row names it, one or several."""
        found = (self._by_theirs.get(spelled, ()) for spelled in self._spelled(name))
        return next(filter(None, found), ())

    def by_ours(self, name: str) -> Place:
        """Return the place of our tensor `name`."""
        return self._by_ours[name]

    def reason_to_skip(self, name: str) -> str | None:
        """Return why a published tensor may stay unplaced, or None where it may not."""
        for spelled in self._spelled(name):
            if spelled in self.extra:
                return self.extra[spelled]
        found = (self.extra[f"{prefix}*"] for prefix in self._skipped if name.startswith(prefix))
        return next(found, None)

    def _spelled(self, name: str) -> Iterator[str]:
        """Yield the names that a published tensor may go by in the rows."""
        yield name
        yield self.prefix + name
        for theirs, own in self.spellings.items():
            if name.startswith(theirs):
                yield own + name.removeprefix(theirs)

    def their_module(self, ours: str) -> Place:
        """Return the published module of our linear map `ours`; both without `.weight`."""
        place = self._by_ours[ours + ".weight"]
        theirs = place.theirs.removesuffix(".weight")
        return Place(self._renamed.get(theirs, theirs), ours, place.layout)

    def our_module(self, theirs: str) -> Place | None:
        """Return our linear map for the published module `theirs`, or None."""
        published = {today: name for name, today in self._renamed.items()}
        match self.by_theirs(published.get(theirs, theirs) + ".weight"):
            case (place,):
                return Place(theirs, place.ours.removesuffix(".weight"), place.layout)
        return None


def module_rows(modules: Mapping[str, str], layout: Layout = None) -> tuple[Row, ...]:
    """Return the rows of modules, theirs to ours, each of a weight and maybe a bias."""
    return tuple(
        Row(f"{theirs}.{part}", f"{ours}.{part}", layout)
        for theirs, ours in modules.items()
        for part in ("weight", "bias")
    )


def _spell_out(rows: Iterable[Row], layers: int, experts: int) -> Iterable[Place]:
    for row in rows:
        for i in range(layers if "{i}" in row.ours else 1):
            for e in range(experts if "{e}" in row.ours else 1):
                theirs, ours = (
                    name.replace("{i}", str(i)).replace("{e}", str(e))
                    for name in (row.theirs, row.ours)
                )
                layout = row.layout
                if isinstance(layout, Slice):
                    layout = replace(layout, index=e)
                yield Place(theirs, ours, layout)
