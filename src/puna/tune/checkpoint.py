"""The state of a run on disk: tensors in safetensors, the rest in JSON, never a pickle.

A step's tensors are written first, under a name of their own; `state.json`, which names them, is
renamed into place last. A kill at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from puna.errors import FormatError, UsageError
from puna.formats import write_atomic
from puna.source import read_json
from puna.weights import read_tensors, save_tensors

_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: steps done and their losses, and what the run is made of."""

    step: int
    losses: tuple[float, ...]
    run: Mapping[str, Any]


def has_checkpoint(folder: Path) -> bool:
    """Tell whether a run was saved here."""
    return (folder / _STATE).is_file()


def save(folder: Path, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
    """Write the state of a step; the one before is removed after.

    Raises:
        StorageError: the disk did not take it; the state before is still there.
    """
    name = _tensors_of(progress.step)
    shapes = {key: (t.dtype, tuple(t.shape)) for key, t in tensors.items()}
    save_tensors(folder / name, shapes, tensors.items())
    body = {**asdict(progress), "tensors": name}
    write_atomic(folder / _STATE, (json.dumps(body) + "\n").encode())
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def _tensors_of(step: int) -> str:
    return f"step-{step:08d}.safetensors"


def load(folder: Path, run: Mapping[str, Any]) -> tuple[Progress, dict[str, Tensor]]:
    """Read a state back.

    Raises:
        UsageError: it belongs to a run with other data or settings; names the first difference.
        SourceError, FormatError: it cannot be read.
    """
    body = read_json(folder / _STATE, what="state of the run")
    try:
        progress = Progress(int(body["step"]), tuple(map(float, body["losses"])), body["run"])
        name = Path(str(body["tensors"])).name
        saved = dict(progress.run)
        if progress.step != len(progress.losses) or name != _tensors_of(progress.step):
            raise ValueError("its step, losses and tensors do not belong together")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"the state of the run is damaged: {error}",
            where=str(folder / _STATE),
            remedy="start again in a new folder",
        ) from error
    for key in sorted(set(run) | set(saved)):
        if saved.get(key) != json.loads(json.dumps(run.get(key))):
            raise UsageError(
                f"the saved run has {key} = {saved.get(key)!r:.60}, this one {run.get(key)!r:.60}",
                where=str(folder),
                remedy="resume with the same model, data and settings, or use a new folder",
            )
    tensors = {key: tensor.clone() for key, tensor in read_tensors(folder / name).items()}
    return progress, tensors


def pack(
    parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> dict[str, Tensor]:
    """Return parameters, and what AdamW keeps of each, as named tensors; they are not copied.

    A parameter that never had a gradient (an expert no token was sent to) has no such state.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"parameter.{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    return tensors


@torch.no_grad()
def unpack(
    tensors: Mapping[str, Tensor],
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
) -> None:
    """Put back what `pack` returned.

    Raises:
        FormatError: a parameter is missing or has another shape.
    """
    for name, parameter in parameters.items():
        value = tensors.get(f"parameter.{name}")
        if value is None or value.shape != parameter.shape:
            raise FormatError(f"the saved run does not hold {name!r} in the shape it has now")
        parameter.copy_(value)
        state = {key: tensors.get(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(part is not None for part in state.values()):
            optimizer.state[parameter] = {
                key: part.to("cpu" if key == "step" else parameter.device)
                for key, part in state.items()
                if part is not None
            }
