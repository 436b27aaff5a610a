"""The compiled code, found beside this file, and the threads that run it."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from puna.errors import UsageError
from puna.kernels.program import Op, Program, Step

# What it can be compiled for, from the plainest; the last that the processor has is taken.
LEVELS = ("portable", "avx2", "avx512", "avx512_bf16")


@dataclass(frozen=True, slots=True)
class Library:
    """The compiled functions."""

    path: Path
    has: Callable[[int], int]
    pool_new: Callable[[int, int], int | None]
    pool_free: Callable[[int], None]
    run: Callable[..., None]
    pack: Callable[..., None]
    pack_pairs: Callable[..., None]
    unpack: Callable[..., None]

    def levels(self) -> tuple[str, ...]:
        """Return the levels that this processor has, from the plainest."""
        return tuple(name for number, name in enumerate(LEVELS) if self.has(number))


@cache
def library() -> Library | None:
    """Return the compiled code, or None where it was not built, or for other records than ours."""
    for path in sorted(Path(__file__).parent.glob("_native*")):
        try:
            found = _bind(path)
        except (OSError, AttributeError):
            continue
        if found is not None:
            return found
    return None


def _bind(path: Path) -> Library | None:
    code = ctypes.CDLL(str(path))
    if code.puna_op_size() != ctypes.sizeof(Op) or code.puna_step_size() != ctypes.sizeof(Step):
        return None
    code.puna_pool_new.restype = c_void_p
    code.puna_pool_free.argtypes = [c_void_p]
    code.puna_run.argtypes = [c_void_p, c_void_p, c_int32, c_void_p]
    for name in ("puna_pack", "puna_pack_pairs"):
        getattr(code, name).argtypes = [c_void_p, *[c_int64] * 4, c_void_p]
    sizes = [c_int64, c_int64, c_int32, c_int32]
    code.puna_unpack.argtypes = [c_void_p, *sizes, c_void_p]
    functions = (code.puna_has, code.puna_pool_new, code.puna_pool_free, code.puna_run)
    return Library(path, *functions, code.puna_pack, code.puna_pack_pairs, code.puna_unpack)


class Pool:
    """Threads that run programs together; one program at a time, from any thread.

    Raises:
        UsageError: the processor, or the library, lacks the level.
    """

    def __init__(self, found: Library, threads: int, level: str) -> None:
        if level not in found.levels():
            raise UsageError(
                f"this processor cannot run kernels for {level!r:.40}",
                where="PUNA_KERNELS",
                remedy=f"choose one of {', '.join(found.levels())}, or off",
            )
        self.level, self.threads = level, threads
        self._found = found
        self._process, self._handle = os.getpid(), self._start()

    def run(self, program: Program, step: Step) -> None:
        """Run all operations of a program on the tokens of a step."""
        if self._process != os.getpid():  # a fork has this object, but none of its threads
            self._process, self._handle = os.getpid(), self._start()
        self._found.run(self._handle, program.ops, len(program.ops), ctypes.byref(step))

    def _start(self) -> int:
        handle = self._found.pool_new(self.threads, LEVELS.index(self.level))
        if not handle:
            raise UsageError(f"no {self.threads} threads could be started for the kernels")
        weakref.finalize(self, _free, self._found, handle, os.getpid())
        return handle


def _free(found: Library, handle: int, process: int) -> None:
    if process == os.getpid():  # else its threads are in another process, and not to be waited for
        found.pool_free(handle)


@cache
def pool(level: str | None, threads: int) -> Pool | None:
    """Return the threads for a level, or for the best there is; None without compiled code.

    Raises:
        UsageError: the processor lacks the level.
    """
    found = library()
    if found is None or level == "off":
        return None
    return Pool(found, threads, level or found.levels()[-1])
