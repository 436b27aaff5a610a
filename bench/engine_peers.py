"""The other processes of bench/engine.py: workers that answer in JSON, programs, HTTP servers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_WORKER = Path(__file__).with_name("engine_worker.py")
_KEY = "bench"


class MissingError(Exception):
    """A figure that cannot be had, with the reason as it stands in the table."""


def say_last(log: Path) -> str:
    """Return the last two lines of a log that say something."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " ".join(" ".join(lines[-2:]).split())[-200:] or "it said nothing"


def peak_of(pid: int) -> int:
    """Return the most resident memory of a running process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def environment(work: Path, threads: int) -> dict[str, str]:
    """Return what a process is given: its threads, and a home of Puna's that is the bench's own."""
    threading_ = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **threading_, "PUNA_HOME": str(work / "home"), "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to open: a library, a model in a format, and room for sequences."""

    tool: str
    format: str
    model: str
    context: int
    batch: int


class Worker:
    """A library with a model in it, in a process of its own; see bench/engine_worker.py.

    Raises:
        MissingError: it could not be started, or did not get as far as a loaded model.
    """

    def __init__(self, python: str, job: Job, work: Path, threads: int) -> None:
        self.began = time.perf_counter()
        self._log = work / "logs" / f"{job.tool}-{job.format}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        fields = ("tool", "format", "model", "context", "batch")
        words = {name: getattr(job, name) for name in fields} | {"threads": threads}
        with self._log.open("w") as log:
            try:
                self._process = subprocess.Popen(
                    # -P: the folder of the script has modules named like libraries.
                    [python, "-P", str(_WORKER), json.dumps(words)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=environment(work, threads),
                )
            except OSError as error:
                raise MissingError(str(error)) from error
        self.ready = self._answer()

    def ask(self, op: str, **request: Any) -> dict[str, Any]:
        """Return its answer.

        Raises:
            MissingError: it failed, with its own words.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MissingError(f"it ended: {say_last(self._log)}") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise MissingError(f"it ended with {code}: {say_last(self._log)}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise MissingError(" ".join(str(found["error"]).split())[:200])
        return found

    def age(self) -> float:
        """Return the seconds since it was started."""
        return time.perf_counter() - self.began

    def close(self) -> None:
        """End it."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def program(words: Sequence[str | Path], work: Path, threads: int) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        MissingError: it is not there, or it failed.
    """
    log = work / "logs" / f"{Path(words[0]).name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as said:
        try:
            done = subprocess.run(
                [str(word) for word in words],
                stdout=subprocess.PIPE,
                stderr=said,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                env=environment(work, threads),
            )
        except OSError as error:
            raise MissingError(f"{error}; build it by bench/build_llama.sh") from error
    if done.returncode:
        raise MissingError(f"{Path(words[0]).name} ended with {done.returncode}: {say_last(log)}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Llama:
    """The programs of llama.cpp in a folder, run with so many threads."""

    folder: Path
    work: Path
    threads: int

    def bench(self, gguf: Path, *words: str) -> dict[str, Any]:
        """Return what one test of llama-bench says, measured once."""
        options = ["-t", str(self.threads), "-r", "1", "-o", "json", *words]
        found = json.loads(self._run("llama-bench", "-m", gguf, *options))
        answer: dict[str, Any] = found[-1]
        return answer

    def batched(self, gguf: Path, prompt: int, tokens: int, sequences: int) -> dict[str, Any]:
        """Return what llama-batched-bench says."""
        room = sequences * (prompt + tokens)
        sizes = {"-npp": prompt, "-ntg": tokens, "-npl": sequences, "-c": room, "-t": self.threads}
        numbers = [str(word) for pair in sizes.items() for word in pair]
        numbers += ["--output-format", "jsonl"]
        for _ in range(3):  # its log has a thread of its own and may be lost as it ends
            said = self._run("llama-batched-bench", "-m", gguf, *numbers)
            lines = [line for line in said.splitlines() if line.startswith("{")]
            if lines:
                answer: dict[str, Any] = json.loads(lines[-1])
                return answer
        raise MissingError("llama-batched-bench printed no figures")

    def first_token(self, gguf: Path, context: int) -> float:
        """Return the seconds of a process that loads and says one token of a short prompt."""
        options = ["-n", "1", "-c", str(context), "-t", str(self.threads), "-no-cnv", "-p", "the"]
        began = time.perf_counter()
        self._run("llama-completion", "-m", gguf, *options)
        return time.perf_counter() - began

    def quantize(self, source: Path, target: Path, kind: str) -> Path:
        """Return a file in a format that only llama.cpp writes, made now or kept from before."""
        if not target.is_file():
            part = target.with_suffix(".part")
            self._run("llama-quantize", source, part, kind, str(self.threads))
            part.rename(target)
        return target

    def serve(self, gguf: Path, sequences: int, context: int) -> Server:
        """Return llama-server with room for so many sequences of so many tokens."""
        port = free_port()
        words = ["-m", gguf, "-t", self.threads, "-np", sequences, "-c", sequences * context]
        words += ["--host", "127.0.0.1", "--port", port, "--no-webui"]
        server = Server(
            [self.folder / "bin" / "llama-server", *words], self.work, self.threads, "llama-server"
        )
        server.wait(port)
        return server

    def _run(self, name: str, *words: str | Path) -> str:
        return program([self.folder / "bin" / name, *words], self.work, self.threads)


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A program that answers over HTTP on this machine until it is closed."""

    def __init__(self, words: Sequence[Any], work: Path, threads: int, name: str) -> None:
        self._log = work / "logs" / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self.port = 0
        with self._log.open("w") as log:
            try:
                self.process = subprocess.Popen(
                    [str(word) for word in words],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    text=True,
                    env=environment(work, threads),
                )
            except OSError as error:
                raise MissingError(f"{error}; build it by bench/build_llama.sh") from error
        assert self.process.stdout
        self.said: IO[str] = self.process.stdout

    def drain(self) -> None:
        """Read what it prints from here on, so that it never waits for a reader."""
        threading.Thread(target=lambda: [None for _ in self.said], daemon=True).start()

    def wait(self, port: int) -> None:
        """Return once llama-server has loaded.

        Raises:
            MissingError: it ended before.
        """
        self.port = port
        self.drain()
        while self.process.poll() is None:
            try:
                self.ask("GET", "/health")
            except (OSError, MissingError):
                time.sleep(0.02)
            else:
                return
        raise MissingError(f"it ended with {self.process.returncode}: {say_last(self._log)}")

    def wait_json(self) -> None:
        """Return once `puna serve --json` has said where it listens.

        Raises:
            MissingError: it ended before.
        """
        text = ""
        for line in self.said:
            text += line
            try:
                address = json.loads(text)["base_url"]
            except ValueError:
                continue
            self.port = int(address.split(":")[2].split("/")[0])
            self.drain()
            return
        raise MissingError(f"it ended with {self.process.wait()}: {say_last(self._log)}")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what it answers.

        Raises:
            MissingError: it refused.
        """
        link = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            head = {"content-type": "application/json", "authorization": f"Bearer {_KEY}"}
            link.request(method, path, None if body is None else json.dumps(body), head)
            answer = link.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise MissingError(f"{path} answered {answer.status}: {text[:150]}")
            found: dict[str, Any] = json.loads(text)
            return found
        finally:
            link.close()

    def ask_all(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> float:
        """Send all at once and return the seconds until the last was answered.

        Raises:
            MissingError: one was refused.
        """
        failed: list[Exception] = []

        def one(body: Mapping[str, Any]) -> None:
            try:
                self.ask("POST", path, body)
            except (OSError, MissingError) as error:
                failed.append(error)

        threads = [threading.Thread(target=one, args=(body,)) for body in bodies]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise MissingError(str(failed[0]))
        return time.perf_counter() - began

    def peak(self) -> int:
        """Return the most resident memory it had, in bytes."""
        return peak_of(self.process.pid)

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def serve_puna(model: Path, sequences: int, context: int, work: Path, threads: int) -> Server:
    """Return `puna serve` with a model."""
    words = ["--port", 0, "--api-key", _KEY, "--json", "--context", context, "--batch", sequences]
    server = Server(
        [sys.executable, "-m", "puna", "serve", model, *words], work, threads, "puna-serve"
    )
    server.wait_json()
    return server


class Pool:
    """What is open: each thing once, until it is let go."""

    def __init__(self) -> None:
        self._open: dict[Any, Any] = {}
        self._failed: dict[Any, MissingError] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what is open under `key`, opened now if it is not.

        Raises:
            MissingError: it cannot be opened; that is tried once.
        """
        if key in self._failed:
            raise self._failed[key]
        if key not in self._open:
            try:
                self._open[key] = make()
            except MissingError as error:
                self._failed[key] = error
                raise
        return self._open[key]

    def close(self) -> None:
        """Close all of them."""
        for one in self._open.values():
            one.close()
        self._open.clear()
