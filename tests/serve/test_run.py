"""Starting and stopping: addresses, ports in use, Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import openai
import pytest

from puna.errors import ServeError
from puna.generate import LanguageModel, load
from puna.serve import serve
from puna.serve.run import address_of, listen
from tests.serve.conftest import KEY, MODEL

ASK = [{"role": "user", "content": "Tell me everything"}]


def refuse(lm: LanguageModel, host: str, port: int) -> ServeError:
    def on_ready(address: str) -> None:
        pytest.fail(f"it serves at {address}")

    with pytest.raises(ServeError) as caught:
        serve(lm, host=host, port=port, api_key=KEY, model_id=MODEL, on_ready=on_ready)
    assert len(str(caught.value).splitlines()) <= 3
    assert caught.value.remedy
    return caught.value


def test_a_port_in_use(lm: LanguageModel) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1, port {port}: address already in use" in str(
            refuse(lm, "127.0.0.1", port)
        )


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_port_that_is_none(lm: LanguageModel, port: int) -> None:
    assert f"no port {port}" in str(refuse(lm, "127.0.0.1", port))


@pytest.mark.parametrize(
    "host", ["", "no.such.host.invalid", "256.0.0.1", "a\0b", "x" * 300, "..", "[::1]", "a b"]
)
def test_a_host_that_is_none(lm: LanguageModel, host: str) -> None:
    assert "no address is known" in str(refuse(lm, host, 0))


def test_an_address_of_another_machine(lm: LanguageModel) -> None:
    assert "cannot listen at 192.0.2.1, port 8000" in str(refuse(lm, "192.0.2.1", 8000))


def test_a_model_that_cannot_chat(shared: Path) -> None:
    lm = load(shared / "data" / "checkpoints" / "stories260K-hf")
    assert "no chat template" in str(refuse(lm, "127.0.0.1", 0))


def test_addresses_for_clients() -> None:
    for host, start in (
        ("127.0.0.1", "http://127.0.0.1:"),
        ("0.0.0.0", "http://127.0.0.1:"),
        ("127.0.0.2", "http://127.0.0.2:"),
    ):
        with listen(host, 0) as listener:
            assert address_of(listener) == f"{start}{listener.getsockname()[1]}"


def test_an_address_of_ipv6_has_brackets() -> None:
    try:
        listener = listen("::1", 0)
    except ServeError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        assert address_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_port_can_be_taken_again_at_once() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))):
            first.accept()[0].close()
    with listen("127.0.0.1", port) as second:
        assert second.getsockname()[1] == port


@contextmanager
def command(folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "puna", "serve", str(folder), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_command_with_a_port_in_use(folder: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with command(folder, "--port", port) as process:
            out, err = process.communicate()
    assert process.returncode == 1
    assert out == ""
    assert f"port {port}: address already in use" in err
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err


def test_the_command_until_ctrl_c(folder: Path) -> None:
    with command(folder, "--port", 0, "--json", "--name", "mine") as process:
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()) not in ("}\n", ""):
            lines.append(line)
        card = json.loads("".join(lines) + "}")
        assert card["model"] == "mine"
        client = openai.OpenAI(base_url=card["base_url"], api_key=card["api_key"], max_retries=0)
        assert [model.id for model in client.models.list()] == ["mine"]
        stream = client.chat.completions.create(
            model="mine", messages=ASK, temperature=0, stream=True
        )
        next(iter(stream))
        process.send_signal(signal.SIGINT)
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
        out, err = process.communicate()
    assert process.returncode == 0
    assert (out, err) == ("", "")


def test_ready_is_told_when_it_accepts(folder: Path) -> None:
    """Ctrl-C within `on_ready` ends it at once, in the thread of whoever called `serve`."""
    heard: list[str] = []

    def on_ready(address: str) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        socket.create_connection((host, int(port))).close()
        heard.append(address)
        signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    serve(load(folder), host="localhost", port=0, api_key=KEY, model_id=MODEL, on_ready=on_ready)
    assert len(heard) == 1


def test_a_second_ctrl_c_waits_for_nobody(
    lm: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even for a client that never sends the rest of its request."""
    threads = []
    said: list[bytes] = []

    def leave(address: tuple[str, int]) -> None:
        with socket.create_connection(address) as connection:
            connection.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                f"authorization: Bearer {KEY}\r\ncontent-length: 9\r\n\r\n{{".encode()
            )
            with socket.create_connection(address) as other:
                other.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                while other.recv(65536):
                    pass
            signal.raise_signal(signal.SIGINT)
            try:
                while True:
                    socket.create_connection(address).close()
            except ConnectionError:
                signal.raise_signal(signal.SIGINT)
            with suppress(ConnectionError):
                said.append(connection.recv(65536))

    def on_ready(address: str) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        threads.append(threading.Thread(target=leave, args=((host, int(port)),)))
        threads[0].start()

    serve(lm, host="127.0.0.1", port=0, api_key=KEY, model_id=MODEL, on_ready=on_ready)
    threads[0].join()
    assert said in ([], [b""])
    assert not caplog.records


def test_an_error_of_on_ready_reaches_the_caller(
    lm: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    def on_ready(address: str) -> None:
        raise BrokenPipeError("nobody reads the address")

    with pytest.raises(BrokenPipeError):
        serve(lm, host="127.0.0.1", port=0, api_key=KEY, model_id=MODEL, on_ready=on_ready)
    assert not caplog.records
    assert lm.chat(ASK, max_tokens=3).ids  # nobody else drives the engine any longer
