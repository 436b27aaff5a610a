"""One operation at a time, on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from puna.kernels import Op, Program, Step, pool

PAGE = 16


@dataclass
class Lab:
    """Matrices that operations read and write by number, and what a step says beside them."""

    buffers: list[Tensor]
    level: str
    threads: int = 2
    ids: Sequence[int] = ()
    positions: Sequence[int] = ()
    owner: Sequence[int] = ()
    due: Sequence[int] = ()
    tables: Sequence[Sequence[int]] = ()
    subsets: Sequence[Sequence[int]] = ()
    cos: Tensor | None = None
    sin: Tensor | None = None
    columns: int = 1024
    experts: int = 0
    spread: int = 0
    picks: Tensor = field(default_factory=lambda: torch.empty(0))
    _held: list[object] = field(default_factory=list)

    def run(self, *ops: Op) -> None:
        rows = len(self.buffers[0])
        prepared, sets = rows * max(1, self.spread), 1 + len(self.subsets)
        codes = torch.zeros(prepared, 2 * self.columns + 128, dtype=torch.int8)
        scale = torch.zeros(prepared, self.columns)
        sums = torch.zeros(prepared, self.columns, dtype=torch.int32)
        self.picks = torch.zeros(rows, self.spread, dtype=torch.int32)
        chosen = torch.zeros(sets, rows * self.spread, dtype=torch.int32)
        bounds = torch.zeros(sets, self.experts + 1, dtype=torch.int32)
        strides = torch.tensor([b.shape[1] for b in self.buffers])
        step = Step(
            tokens=rows,
            due=len(self.due),
            sequences=len(self.tables),
            ids=self._whole(self.ids),
            positions=self._whole(self.positions),
            owner=self._whole(self.owner),
            due_rows=self._whole(self.due),
            pages=self._pointers([self._whole(table) for table in self.tables]),
            subset=self._pointers([self._whole(subset) for subset in self.subsets]),
            subset_count=self._whole([len(subset) for subset in self.subsets]),
            buffers=self._pointers([b.data_ptr() for b in self.buffers]),
            strides=strides.data_ptr(),
            cos=self._pointers([] if self.cos is None else [self.cos.data_ptr()]),
            sin=self._pointers([] if self.sin is None else [self.sin.data_ptr()]),
            angle=self._pointers([self._whole(range(rows))]),
            codes=codes.data_ptr(),
            code_scale=scale.data_ptr(),
            code_sum=sums.data_ptr(),
            picks=self.picks.data_ptr(),
            sorted=chosen.data_ptr(),
            bounds=bounds.data_ptr(),
        )
        running = pool(self.level, self.threads)
        assert running is not None
        running.run(Program.of(ops, []), step)

    def _whole(self, values: Sequence[int]) -> int:
        tensor = torch.tensor([*values, 0], dtype=torch.int32)
        self._held.append(tensor)
        return tensor.data_ptr()

    def _pointers(self, addresses: Sequence[int]) -> int:
        array = (ctypes.c_void_p * max(1, len(addresses)))(*addresses)
        self._held.append(array)
        return ctypes.addressof(array)
