"""Steps in one call of compiled code."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from puna.engine.lower import Lowered, lower
from puna.engine.pages import Chunk, PagePool
from puna.engine.runner import Runner, TorchRunner
from puna.kernels import Pool, Step
from puna.model import Decoder, PackedWeight, RotaryTable, threads
from puna.spec import DynamicScaling, LongRopeScaling, ModelSpec

# Tokens that pass through the layers together: their buffers stay small, and weights that are read
# again for the next ones cost little beside so many products.
STEP_ROWS = 256
# Positions whose angles are kept. A step at a later one takes so long that they can be computed.
_KEPT_ANGLES = 4096
# From so many tokens on, tiles are filled well enough.
_FEW = 16


def fastest(model: Decoder, spec: ModelSpec, pool: PagePool) -> Runner:
    """Return the compiled runner where there is one for such a model, and else torch's.

    See `puna.engine.runner.Maker`.
    """
    running = threads()
    if running is None:
        return TorchRunner(model, pool)
    lowered = lower(model, spec, pool)
    if lowered is None:
        return TorchRunner(model, pool)
    native = NativeRunner(lowered, running, model.tables, pool)
    if tiles_serve(model.dtype) and not _is_packed(model):
        return ByRows(native, TorchRunner(model, pool))
    return native


@dataclass(frozen=True, slots=True)
class ByRows:
    """A runner for steps of few tokens and one for those of many.

    Where the processor has tiles (AMX), the library multiplies many rows of bfloat16 several times
    faster than the kernels here, which do not use them.
    """

    few: Runner
    many: Runner
    invariant: bool = False

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        """See `Runner.run`."""
        runner = self.many if len(ids) > _FEW else self.few
        return runner.run(ids, chunks, due)


def _is_packed(model: Decoder) -> bool:
    return any(isinstance(module, PackedWeight) for module in model.modules())


def tiles_serve(dtype: torch.dtype) -> bool:
    """Tell whether this processor has tiles for numbers of that dtype."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return dtype is torch.bfloat16 and probe is not None and bool(probe())


class NativeRunner:
    """A lowered model over the pages of a pool."""

    # Each row is summed up in one order, whatever other rows there are: see csrc/step.h.
    invariant = True

    def __init__(
        self, lowered: Lowered, running: Pool, ropes: Sequence[RotaryTable], pool: PagePool
    ) -> None:
        self._lowered = lowered
        self._running = running
        self._ropes = [_Angles(rope) for rope in ropes]
        self._groups = len(pool.windows)
        self._memory = _Memory.of(lowered, 0)

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        """See `Runner.run`."""
        vocab = self._lowered.buffers[-1].columns
        logits = torch.empty(len(due), vocab)
        done = 0
        for part in _parts(chunks, due):
            self._run_part(ids[part.start : part.end], part, logits[done : done + len(part.due)])
            done += len(part.due)
        return logits

    def _run_part(self, ids: Sequence[int], part: _Part, logits: Tensor) -> None:
        if len(ids) > self._memory.rows:
            self._memory = _Memory.of(self._lowered, max(len(ids), min(2 * len(ids), STEP_ROWS)))
        memory, pieces, numbers = self._memory, part.pieces, _Numbers()
        positions = [at for p in pieces for at in range(p.start, p.start + p.count)]
        angles = [rope.rows(positions, pieces) for rope in self._ropes]
        step = {
            "ids": numbers.add(ids),
            "positions": numbers.add(positions),
            "owner": numbers.add([n for n, p in enumerate(pieces) for _ in range(p.count)]),
            "due_rows": numbers.add(part.due),
        }
        tables = [numbers.add(p.chunk.tables[g]) for g in range(self._groups) for p in pieces]
        rows = [numbers.add(rows) for _, _, rows in angles]
        users = [numbers.add(rows) for rows in self._users(pieces)]
        counts = numbers.add([numbers.size(at) for at in users])
        base = numbers.pack()
        lists = [
            _pointers(base + at for at in tables),
            _pointers(cos.data_ptr() for cos, _, _ in angles),
            _pointers(sin.data_ptr() for _, sin, _ in angles),
            _pointers(base + at for at in rows),
            _pointers(base + at for at in users),
            _pointers([*memory.addresses, logits.data_ptr()]),
        ]
        names = ("pages", "cos", "sin", "angle", "subset", "buffers")
        self._running.run(
            self._lowered.program,
            Step(
                tokens=len(ids),
                due=len(part.due),
                sequences=len(pieces),
                subset_count=base + counts,
                **{name: base + at for name, at in step.items()},
                **{name: ctypes.addressof(one) for name, one in zip(names, lists, strict=True)},
                **memory.fields,
            ),
        )

    def _users(self, pieces: Sequence[_Piece]) -> list[list[int]]:
        """Return, for each adapter, the rows that use it."""
        users: dict[int, list[int]] = {int(slot): [] for slot in self._lowered.adapters}
        row = 0
        for piece in pieces if users else ():
            if piece.chunk.adapter in users:
                users[piece.chunk.adapter] += range(row, row + piece.count)
            row += piece.count
        return list(users.values())


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens of one chunk: `count` from position `start` on."""

    chunk: Chunk
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Tokens of a step that are computed together: from `start` to `end`, `due` among them."""

    start: int
    end: int
    pieces: list[_Piece]
    due: list[int]


def _parts(chunks: Sequence[Chunk], due: Sequence[int]) -> list[_Part]:
    """Cut a step into parts of at most `STEP_ROWS` tokens, in their order."""
    pieces: list[list[_Piece]] = [[]]
    room = STEP_ROWS
    for chunk in chunks:
        start, end = chunk.start, chunk.start + chunk.count
        while start < end:
            if room == 0:
                pieces.append([])
                room = STEP_ROWS
            count = min(room, end - start)
            pieces[-1].append(_Piece(chunk, start, count))
            start, room = start + count, room - count
    parts, first = [], 0
    for some in pieces:
        end = first + sum(piece.count for piece in some)
        parts.append(_Part(first, end, some, [row - first for row in due if first <= row < end]))
        first = end
    return parts


class _Numbers:
    """Lists of int32 that a step points to, in one piece of memory: making many costs more."""

    def __init__(self) -> None:
        self._all: list[int] = []
        self._sizes: dict[int, int] = {}
        self._array = np.empty(0, dtype=np.int32)

    def add(self, values: Sequence[int]) -> int:
        """Take a list, and return how many bytes it will stand from the start."""
        at = 4 * len(self._all)
        self._all += values
        self._all.append(0)  # so that no two lists, one of them empty, begin at one place
        self._sizes[at] = len(values)
        return at

    def size(self, at: int) -> int:
        """Return how many numbers the list there has."""
        return self._sizes[at]

    def pack(self) -> int:
        """Return the address of the start; it holds as long as this lives."""
        self._array = np.array(self._all, dtype=np.int32)
        return int(self._array.ctypes.data)


def _pointers(addresses: Iterable[int]) -> ctypes.Array[ctypes.c_void_p]:
    some = tuple(addresses)
    return (ctypes.c_void_p * max(1, len(some)))(*some)


@dataclass(frozen=True, slots=True)
class _Memory:
    """Buffers for so many rows; logits have theirs from step to step.

    `addresses` are those of the buffers, `fields` what a step says of the others.
    """

    rows: int
    addresses: list[int]
    fields: dict[str, int]
    held: tuple[Any, ...]

    @classmethod
    def of(cls, lowered: Lowered, rows: int) -> _Memory:
        """Allocate them."""
        stride, groups = lowered.codes
        experts, top_k = lowered.experts
        buffers = [torch.empty(rows * b.each, b.columns) for b in lowered.buffers[:-1]]
        strides = np.array([b.columns for b in lowered.buffers], dtype=np.int64)
        sets = 1 + len(lowered.adapters)
        picks = torch.empty(1 + sets, rows * top_k, dtype=torch.int32)  # as they come, and sorted
        bounds = torch.empty(sets, experts + 1, dtype=torch.int32)
        codes = torch.empty(rows, stride, dtype=torch.int8)
        scale, sums = torch.empty(rows, groups), torch.empty(rows, groups, dtype=torch.int32)
        fields = {
            "strides": int(strides.ctypes.data),
            "codes": codes.data_ptr(),
            "code_scale": scale.data_ptr(),
            "code_sum": sums.data_ptr(),
            "picks": picks[0].data_ptr(),
            "sorted": picks[1].data_ptr(),
            "bounds": bounds.data_ptr(),
        }
        addresses = [buffer.data_ptr() for buffer in buffers]
        return cls(rows, addresses, fields, (buffers, strides, codes, scale, sums, picks, bounds))


class _Angles:
    """Cosines and sines of a rope, kept for some positions where they do not depend on more."""

    def __init__(self, table: RotaryTable) -> None:
        self._table = table
        self._varies = isinstance(table.rope.scaling, DynamicScaling | LongRopeScaling)
        self._kept = self._make(torch.zeros(0, dtype=torch.int64), 0)

    def rows(
        self, positions: Sequence[int], pieces: Sequence[_Piece]
    ) -> tuple[Tensor, Tensor, Sequence[int]]:
        """Return cosines and sines, and which row of them each token takes."""
        if self._varies:
            spans = torch.tensor([p.chunk.span for p in pieces for _ in range(p.count)])
            return *self._make(torch.tensor(positions), spans), range(len(positions))
        need = max(positions) + 1
        if need > _KEPT_ANGLES:
            return *self._make(torch.tensor(positions), 0), range(len(positions))
        if need > len(self._kept[0]):
            self._kept = self._make(torch.arange(min(2 * need, _KEPT_ANGLES)), 0)
        return *self._kept, positions

    def _make(self, positions: Tensor, spans: Tensor | int) -> tuple[Tensor, Tensor]:
        """Return contiguous tables [N, dims/2]; `spans` is of no matter where it is a number."""
        known = spans if isinstance(spans, Tensor) else torch.full_like(positions, spans)
        cos, sin = self._table(positions, known)
        return cos.contiguous(), sin.contiguous()
