"""What one input may do: end well or in a PunaError, in bounded time and memory, in its folder."""

from __future__ import annotations

import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from puna.errors import PunaError
from tests.attacks.checks import check_message, peak_memory
from tests.fuzz.target import Target

_GROWTH, _GROWTH_PER_BYTE = 256 << 20, 64
_CLEAR, _PEAK = Path("/proc/self/clear_refs"), "5"  # forgets the most that was held (proc(5))
_ROOT = Path(__file__).resolve().parents[2]
_CODE = (sys.prefix, sys.base_prefix, str(_ROOT / "src"), str(_ROOT / "tests"))
_CODE_ENDS = (".py", ".pyc", ".so")
_RUNS = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"),
    *("subprocess.", "socket.", "pickle.find_class", "ctypes.dlopen", "code.interact", "urllib."),
)
_FILES = (
    *("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir"),
    *("os.symlink", "os.link", "os.chmod", "os.truncate", "os.utime", "shutil."),
)
_LONGEST = 2000  # characters of an error, paths and all
_PARSED = "<unknown>"  # where ast.literal_eval says that it compiles; nothing of that is run
_TEMPLATE = "<template>"  # what the sandbox calls the code it made, and runs, of a template
_RAISED = ("__jinja_exception__",)  # all that Jinja's own code names which puts lines to errors


@dataclass(frozen=True, slots=True)
class Finding:
    """What an input did that none may; `place` is where, and tells findings apart."""

    kind: str
    place: str
    text: str


@dataclass(slots=True)
class Watch:
    """Holds a target to what its inputs may do, and counts them.

    Args:
        target: under test.
        folder: where the files of an input are put; nothing beside it may be touched.
        seconds: of processor time that one input may take.
        every: how many inputs lie between two looks at memory.
    """

    target: Target
    folder: Path
    seconds: float = 10.0
    every: int = 50
    inputs: int = 0
    accepted: int = 0
    _armed: bool = False
    _deeds: list[str] = field(default_factory=list)
    _recent: list[bytes] = field(default_factory=list)
    _peak: int = field(default_factory=peak_memory)

    def __post_init__(self) -> None:
        sys.addaudithook(self._audit)

    def run(self, data: bytes) -> Finding | None:
        """Give the target one input; return what it did that none may."""
        self.inputs += 1
        start = time.perf_counter()
        found = self._outcome(data)
        if time.perf_counter() - start > self.seconds:
            # A busy machine may be why: processor time decides, which is dear to ask for each time.
            spent = time.process_time()
            self._outcome(data)
            if (spent := time.process_time() - spent) > self.seconds:
                return Finding("time", "", f"{spent:.1f} s of processor time")
        if self._deeds:
            return Finding("deed", self._deeds[0].split(" ")[0], "\n".join(self._deeds))
        return found or self._memory(data)

    def _memory(self, data: bytes) -> Finding | None:
        """Look now and then at the most that was ever held: to ask for it is dear too.

        Where it grew, all inputs since the last look are run again, one by one.
        """
        self._recent.append(data)
        if len(self._recent) < self.every:
            return None
        recent, self._recent = self._recent, []
        before, peak = self._peak, peak_memory()
        self._peak = peak
        if peak - before <= _GROWTH:
            return None
        for again in recent:
            _CLEAR.write_text(_PEAK)
            before = peak_memory()
            self._outcome(again)
            grown = peak_memory() - before
            if grown > _GROWTH + _GROWTH_PER_BYTE * len(again):
                text = f"{grown:,} bytes for an input of {len(again):,}: {again!r:.20000}"
                return Finding("memory", "", text)
        return None

    def _outcome(self, data: bytes) -> Finding | None:
        self._deeds.clear()
        self._armed = True
        try:
            self.target.one(data)
            self.accepted += 1
            return None
        except PunaError as error:
            return _told(error)
        except Exception as error:
            return _raised(error)
        finally:
            self._armed = False

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event in ("compile", "exec"):
            allowed = self._may_run(event, args)
        elif event.startswith(_FILES):
            allowed = self._may_touch(event, args[0] if args else None, args)
        else:
            allowed = not event.startswith(_RUNS)
        if not allowed and not _importing():
            self._deeds.append(f"{event} {args!r:.200}")
            raise RuntimeError(f"{event} was not to happen")

    def _may_run(self, event: str, args: tuple[Any, ...]) -> bool:
        name = args[1] if event == "compile" else args[0].co_filename
        name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
        if name == _PARSED and event == "compile":
            return True
        if self.target.compiles and name == _TEMPLATE:
            return True
        if self.target.compiles and event == "exec" and args[0].co_names == _RAISED:
            return True
        return name.startswith(("<frozen importlib", *_CODE))

    def _may_touch(self, event: str, path: Any, args: tuple[Any, ...]) -> bool:
        if isinstance(path, int):
            return True  # a file that is open already
        if path == _TEMPLATE and self.target.compiles:
            return True  # Python itself looks there for the line of a syntax error
        path = os.path.realpath(os.fsdecode(path) if path is not None else ".")
        if path == str(self.folder) or path.startswith(f"{self.folder}{os.sep}"):
            return True
        if event == "open":
            mode = args[1] or "r"
            return path.startswith(_CODE) and path.endswith(_CODE_ENDS) and mode in ("r", "rb")
        return event in ("os.listdir", "os.scandir") and path.startswith(_CODE)


def _importing() -> bool:
    """Tell whether a module is being imported, as some are when an error first needs them.

    No input can bring a module: files from elsewhere are held back as any others are.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _told(error: PunaError) -> Finding | None:
    try:
        check_message(error, "")
        assert len(str(error)) < _LONGEST
    except AssertionError:
        return Finding("message", f"{type(error).__name__} {_place(error)}", repr(str(error)))
    return None


def _raised(error: Exception) -> Finding:
    text = "".join(traceback.format_exception(error))[-4000:]
    return Finding(type(error).__name__, _place(error), text)


def _place(error: BaseException) -> str:
    """Return the last line of the package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/puna/" in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "?"
