"""What a run of bench/engine.py works with: the model, its files, and the tools that open them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.engine_models import Model, gguf, made, packed
from bench.engine_peers import Job, Llama, MissingError, Pool, Worker
from puna.errors import PunaError
from puna.families import read_config
from puna.source import read_json
from puna.spec import kv_bytes_per_token

# What is nearest to each of Puna's formats in bits.
LLAMA = {"bf16": ("BF16",), "int8": ("Q8_0",), "int4": ("Q4_0", "Q4_K_M")}
LLAMA |= {"nf4": ("Q4_0",), "q8_0": ("Q8_0",), "q4_0": ("Q4_0",)}
# The file whose size stands for the weights in a format.
_SIZED = {"bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0", "nf4": "Q4_0"}
OPENVINO = {"int8": "Q8_0", "int4": "Q4_0", "nf4": "Q4_0", "q8_0": "Q8_0", "q4_0": "Q4_0"}
# Tokens that a process has room for unless a case needs more.
ROOM = 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure, and what is to be known with it."""

    value: float
    facts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a case: `measure` takes the number of the repeat, 0 for the warm-up."""

    what: str
    tool: str
    format: str
    measure: Callable[[int], Reading]
    warm: bool = True


@dataclass(frozen=True, slots=True)
class Lab:
    """What a run works with; `pool` holds what is open."""

    model: Model
    work: Path
    llama: Llama
    openvino: str
    python: str
    threads: int
    formats: tuple[str, ...]
    tools: tuple[str, ...]
    pool: Pool

    @property
    def folder(self) -> Path:
        """Where the model lies."""
        return made(self.model, self.work)

    def file(self, kind: str) -> Path:
        """Return the model as a GGUF file.

        Raises:
            MissingError: it could not be written.
        """
        try:
            if kind == "Q4_K_M":
                target = self.work / f"{self.folder.name}.{kind}.gguf"
                return self.llama.quantize(self.file("BF16"), target, kind)
            return gguf(self.folder, self.work, kind)
        except PunaError as error:
            raise MissingError(f"no {kind} file: {error}") from error

    def opened(self, format: str) -> Path:
        """Return what Puna opens: its own folder, one packed from it, or a GGUF file.

        Raises:
            MissingError: it could not be written.
        """
        if format in ("q8_0", "q4_0"):
            return self.file(format.upper())
        try:
            packs = format in ("int8", "int4", "nf4")
            return packed(self.folder, self.work, format) if packs else self.folder
        except PunaError as error:
            raise MissingError(f"no {format} folder: {error}") from error

    def pairs(self, *wanted: str) -> list[tuple[str, str]]:
        """Return tool and format of each line, in the order of the table."""
        found: list[tuple[str, str]] = []
        for format in self.formats:
            found.append(("puna", format))
            found += [("llama.cpp", kind) for kind in LLAMA[format]]
            found += [("openvino", OPENVINO[format])] if format in OPENVINO else []
        found.append(("transformers", "bf16"))
        return [p for p in dict.fromkeys(found) if p[0] in self.tools and p[0] in wanted]

    def job(self, tool: str, format: str, context: int, batch: int = 1) -> Job:
        """Return what a worker is to open."""
        if tool == "openvino":
            path = self.file(format)
        else:
            path = self.opened(format) if tool == "puna" else self.folder
        return Job(tool, format, str(path), min(context, self.model.context), batch)

    def start(self, job: Job) -> Worker:
        """Start a worker of one's own."""
        python = self.openvino if job.tool == "openvino" else self.python
        return Worker(python, job, self.work, self.threads)

    def worker(self, tool: str, format: str, context: int = ROOM, batch: int = 1) -> Worker:
        """Return a worker that stays until the case ends."""
        job = self.job(tool, format, context, batch)
        found: Worker = self.pool.get(job, lambda: self.start(job))
        return found

    def need(self, tokens: int) -> None:
        """Refuse where the model's context is shorter."""
        if self.model.context < tokens:
            raise MissingError(
                f"it needs a context of {tokens}, the model has {self.model.context}"
            )


def weight_bytes(lab: Lab, format: str) -> int:
    """Return what the weights take in a format: the file's size, of GGUF where it is quantized."""
    kind = _SIZED.get(format, format.upper())
    if kind == "BF16":
        return sum(path.stat().st_size for path in lab.folder.glob("*.safetensors"))
    return lab.file(kind).stat().st_size


def cache_bytes(lab: Lab, tokens: int) -> int:
    """Return what keys and values of so many tokens take, at two bytes a value."""
    spec = read_config(read_json(lab.folder / "config.json", what="model config"))
    return tokens * kv_bytes_per_token(spec, bytes_per_value=2)
