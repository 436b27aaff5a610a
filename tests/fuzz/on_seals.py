"""Seals: a small one of a text model and an adapter's, read and taken apart as loading does."""

from __future__ import annotations

import json
from pathlib import Path

from puna.seal import FILE, read_seal
from puna.seal.agree import divergence
from puna.seal.axes import differences
from puna.seal.record import Golden, Row, Seal, Stop
from tests.fuzz.mutators import TreeMutator
from tests.fuzz.target import Target, slot

_AXES = {"vocab": 8, "layers": [{"count": 2, "norm": {"is": "Norm", "eps": 1e-5}}]}


def seal(folder: Path) -> Target:
    """Seals: what is read can be written again as it was, and compared with."""
    import torch

    put = slot(folder / FILE)
    even = torch.full((8,), 1 / 8).log()
    seeds = tuple(json.dumps(made.to_json()).encode() for made in (_whole(), _tuned()))

    def one(data: bytes) -> None:
        put(data)
        found = read_seal(folder)
        assert found is not None
        json.dumps(found.to_json(), allow_nan=False)
        found.base()
        differences(found.axes, _AXES)
        for golden in found.prompts:
            assert max(row.at for row in golden.rows) < len(golden.ids)
            assert all(divergence(row, even) >= 0 for row in golden.rows)

    return Target(seeds, one, TreeMutator(seeds))


def _whole() -> Seal:
    row = Row(1, (2, 5), (-0.5, -1.5))
    prompts = (
        Golden("story", (1, 3), (Row(0, (3,), (-0.25,)), row), text="Once"),
        Golden("chat", (1, 4, 5), (row,), messages=({"role": "user", "content": "Hi"},)),
    )
    return Seal("m", "bfloat16", prompts, {"config.json": "0" * 64}, _AXES, "Q4_0")


def _tuned() -> Seal:
    golden = Golden("ids", (1, 2), (Row(1, (2,), (-0.5,)),), base=(Row(1, (4,), (-1.0,)),))
    stop = Stop(2, 0.75, 32)
    return Seal("m", "float32", (golden,), {}, _AXES, "float32", stop, {"puna": "0.1.0"})
