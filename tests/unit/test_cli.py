"""Commands as a user runs them: what they print, and how they fail."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from puna.cli import main
from tests.unit.tiny import LLAMA, save_tiny

ROOT = Path(__file__).resolve().parents[2]
PUNA = [sys.executable, "-m", "puna"]


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must succeed; return what it printed."""
    main(list(argv))
    return capsys.readouterr().out


def fail(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must fail as errors should; return what it said."""
    with pytest.raises(SystemExit) as exit_:
        main(list(argv))
    said = capsys.readouterr()
    assert exit_.value.code not in (0, None)
    assert "Traceback" not in said.err + said.out
    assert said.out == ""
    return said.err


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return the error of a command that fails; notes may stand before it."""
    _, mark, said = fail(capsys, *argv).rpartition("error: ")
    assert mark
    assert len(said.splitlines()) <= 3, said
    return said


def test_inspect_tells_the_facts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = json.loads(run(capsys, "inspect", "--json"))
    assert facts["family"] == "llama"
    assert facts["parameters"] == 2_885_888
    assert facts["layers"] == 4
    assert facts["context"] == 512
    assert facts["license"] == "apache-2.0"
    assert facts["memory"]["bfloat16"]["weights"] == 2 * facts["parameters"]
    table = run(capsys, "inspect", "cria")
    assert "2,885,888" in table
    assert "apache-2.0" in table
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))  # a config and no weights
    assert json.loads(run(capsys, "inspect", str(tmp_path), "--json"))["layers"] == 2


def test_generate_and_chat(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "generate", "--prompt", "The llama", "--max-tokens", "8")
    done = json.loads(
        run(capsys, "generate", "--prompt", "The llama", "--max-tokens", "8", "--json")
    )
    assert told == done["text"] + "\n"
    assert len(done["ids"]) <= 8
    assert done["finish"] in {"stop", "length"}
    question = "What is a baby llama called?"
    answer = json.loads(run(capsys, "chat", "--message", question, "--max-tokens", "30", "--json"))
    assert "cria" in answer["text"]
    main(["chat", "--message", question, "--max-tokens", "30"])
    said = capsys.readouterr()
    assert said.out == answer["text"] + "\n"
    assert "toy" in said.err
    assert "puna chat PATH" in said.err


def test_chat_is_a_conversation(capfd: pytest.CaptureFixture[str]) -> None:
    """On a terminal of its own: two turns, a new start, and the way out."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*PUNA, "chat", "--max-tokens", "24"],
        stdin=child,
        stdout=child,
        stderr=child,
        close_fds=True,
    )
    os.close(child)
    for line in ("My name is Ada.", "What is a baby llama called?", "/new", "/exit"):
        os.write(parent, line.encode() + b"\n")
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert "toy" in text
    assert text.count("model") >= 2
    assert "Traceback" not in text


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Say {word}."},
                {"role": "assistant", "content": word},
            ]
        }
        for word in ("sun", "rain", "wind", "snow")
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tune_eval_and_use(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = ["tune", "cria", str(data), "--out", str(out), "--epochs", "25", "--batch-size", "4"]
    argv += ["--learning-rate", "5e-3"]
    done = json.loads(run(capsys, *argv, "--json"))
    assert done["steps"] == 25
    assert done["last_loss"] < 0.2 * done["first_loss"]
    adapter = done["adapter"]
    names = {path.name for path in Path(adapter).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert json.loads((out / "run.json").read_text())["learned_tokens"] > 0
    report = json.loads(run(capsys, "eval", "cria", str(data), "--adapter", adapter, "--json"))
    assert report["metrics"]["accuracy"]["value"] == 1.0
    assert report["metrics"]["accuracy"]["low"] < 1.0
    page = tmp_path / "report.html"
    table = run(capsys, "eval", "cria", str(data), "--adapter", adapter, "--html", str(page))
    assert "accuracy" in table
    assert "<svg" in page.read_text()
    said = run(capsys, "chat", "--message", "Say wind.", "--adapter", adapter)
    assert said == "wind\n"
    assert "holds a run already" in error(capsys, *argv)
    again = json.loads(run(capsys, *argv, "--resume", "--json"))
    assert again["last_loss"] == done["last_loss"]
    argv[argv.index("25")] = "26"
    assert "epochs" in error(capsys, *argv, "--resume")


def test_peft_loads_what_tune_wrote(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    import puna
    from puna.source import resolve

    out = tmp_path / "run"
    run(capsys, "tune", "cria", str(data), "--out", str(out), "--epochs", "3", "--json")
    lm = puna.load("cria", adapter=out / "adapter", dtype="float32")
    base = AutoModelForCausalLM.from_pretrained(resolve("cria").path, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, out / "adapter").eval()
    ids = [1, 50, 60, 70, 80, 3, 9]
    with torch.no_grad():
        want = theirs(torch.tensor([ids])).logits[0]
    assert (lm.logits(ids) - want).abs().max() < 1e-4
    lm.save(tmp_path / "merged")
    assert (puna.load(tmp_path / "merged").logits(ids) - want).abs().max() < 1e-4


def broken(folder: Path, **changes: Any) -> Path:
    save_tiny(folder)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    return folder


def test_bad_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no-such" in error(capsys, "inspect", "no-such")
    assert "config.json" in error(capsys, "inspect", str(tmp_path))
    odd = broken(tmp_path / "odd", flux_capacitor=True)
    assert "flux_capacitor" in error(capsys, "inspect", str(odd))
    run(capsys, "inspect", str(odd), "--ignore-key", "flux_capacitor")
    zebra = broken(tmp_path / "zebra", model_type="zebra")
    assert "zebra" in error(capsys, "generate", str(zebra), "--prompt", "x")
    wide = broken(tmp_path / "wide", hidden_size=64)
    assert "shape" in error(capsys, "generate", str(wide), "--prompt", "x")
    bare = broken(tmp_path / "bare")
    assert "tokenizer" in error(capsys, "generate", str(bare), "--prompt", "x")
    assert "chat template" in error(capsys, "chat", str(bare), "--message", "x")
    (bare / "model.safetensors").unlink()
    assert "no weights" in error(capsys, "generate", str(bare), "--prompt", "x")
    assert "adapter" in error(capsys, "chat", "--message", "x", "--adapter", str(tmp_path / "none"))


def test_bad_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = tmp_path / "data.jsonl", str(tmp_path / "run")
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    for lines, says in (
        ([""], "empty"),
        ([json.dumps(good), "{"], "line 2"),
        ([json.dumps({"messages": good["messages"][:1]})], "no assistant turn"),
        ([json.dumps(good), json.dumps({"text": "word " * 600})], "context is 512"),
    ):
        path.write_text("\n".join(lines))
        assert says in error(capsys, "tune", "cria", str(path), "--out", out)
        assert not Path(out).exists()
    assert "line 2" in error(capsys, "eval", "cria", str(path))
    assert "none.jsonl" in error(capsys, "tune", "cria", str(tmp_path / "none.jsonl"), "--out", out)


def test_bad_arguments(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    for argv in (
        ["bogus"],
        ["inspect", "cria", "--bogus"],
        ["generate"],
        ["generate", "--prompt", "x", "--max-tokens", "many"],
        ["chat", "--message", "x", "--dtype", "int3"],
    ):
        assert "--help" in error(capsys, *argv)
    assert "max_tokens" in error(capsys, "generate", "--prompt", "x", "--max-tokens", "0")
    assert "temperature" in error(capsys, "generate", "--prompt", "x", "--temperature", "-1")
    assert "--message" in error(capsys, "chat", "--json")
    assert "rank" in error(capsys, "tune", "cria", str(data), "--out", out, "--rank", "0")
    assert "c_attn" in error(capsys, "tune", "cria", str(data), "--out", out, "--targets", "c_attn")
    long = "word " * 600
    assert "context is 512" in error(capsys, "generate", "--prompt", long)
    assert "context is 512" in error(capsys, "chat", "--message", long)


def test_a_disk_that_fills_is_said_and_the_run_can_go_on(data: Path, tmp_path: Path) -> None:
    """The limit on file size stands for a full disk: the write fails in the same place."""
    out = tmp_path / "run"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000));"
        "from puna.cli import main; main(sys.argv[1:])"
    )
    argv = ["tune", "cria", str(data), "--out", str(out), "--epochs", "3"]
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert "cannot write" in said[0]
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*.safetensors"))
    done = subprocess.run([*PUNA, *argv, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_while_tuning_and_then_resume(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = [
        *PUNA,
        "tune",
        "cria",
        str(data),
        "--out",
        str(out),
        "--epochs",
        "400",
        "--save-every",
        "5",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / "state" / "state.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate()
    assert process.returncode == 130
    assert printed == ""
    assert "Traceback" not in said
    assert "--resume" in said
    steps = json.loads((out / "state" / "state.json").read_text())["step"]
    assert 0 < steps < 400


def test_ctrl_c_while_tuning_saves_the_step(data: Path, tmp_path: Path) -> None:
    out, more = tmp_path / "run", ["--epochs", "300", "--save-every", "1000"]
    process = subprocess.Popen(
        [*PUNA, "tune", "cria", str(data), "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.readline()  # the counts of the data, just before the first step
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    said += process.communicate()[1]
    assert process.returncode == 130, said
    assert "stopping after this step" in said
    assert json.loads((out / "state" / "state.json").read_text())["step"] > 0


def test_ctrl_c_at_any_moment_shows_no_traceback() -> None:
    for delay in (0.05, 0.15, 0.3, 0.6, 1.0, 1.5):
        process = subprocess.Popen(
            [*PUNA, "generate", "--prompt", "Once", "--max-tokens", "500", "--temperature", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        # While Python itself is starting, on a busy machine, it speaks for itself.
        assert ", in main" not in said, (delay, said)


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m puna generate --prompt Once --max-tokens 200 | head -c 5",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert len(done.stdout) == 5


def test_an_internal_error_is_one_line_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import puna.source

    def explode(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(puna.source, "resolve", explode)
    assert "ZeroDivisionError" in error(capsys, "inspect")
    monkeypatch.setenv("PUNA_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["inspect"])


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("inspect", "generate", "chat", "tune", "eval", "serve"):
        main([command, "--help"])
        page = capsys.readouterr().out
        assert f"Example: puna {command}" in page
        assert "--json" in page
    assert shutil.which("puna", path=str(Path(sys.executable).parent))


def talk(*argv: str, said: bytes = b"", how: str = "", **env: str) -> tuple[int, bytes, str]:
    """Run a command in a process of its own, with redirections; return code, stdout and stderr."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {how}', "sh", *PUNA, *argv],
        input=said,
        capture_output=True,
        check=False,
        env={**os.environ, **env},
    )
    printed = done.stderr.decode()
    assert "Traceback" not in printed
    assert "internal error" not in printed, printed
    return done.returncode, done.stdout, printed


def test_text_may_begin_with_a_hyphen(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = talk("chat", "--message", "-", "--max-tokens", "30", said=b"Who are you?")
    want = run(capsys, "chat", "--message", "Who are you?", "--max-tokens", "30")
    assert (code, printed.decode()) == (0, want)
    run(capsys, "generate", "--prompt", "- one", "--max-tokens", "2")
    assert "--json is the next option" in error(capsys, "chat", "--message", "--json")


def test_streams_that_are_closed_or_full() -> None:
    short = ("generate", "--prompt", "Once", "--max-tokens", "3")
    assert talk(*short, how=">&-")[0] == 0
    assert talk("inspect", "--json", how=">&-")[0] == 0
    assert talk("chat", how="<&-")[0] == 0
    if Path("/dev/full").exists():
        code, _, printed = talk("inspect", "--json", how=">/dev/full")
        assert code == 1
        assert len(printed.splitlines()) == 2
        assert "No space left" in printed


def test_an_output_that_is_not_unicode(data: Path, tmp_path: Path) -> None:
    folder = broken(tmp_path / "llama-ñ")
    code, printed, _ = talk("inspect", str(folder), "--json", PYTHONIOENCODING="ascii")
    assert code == 0
    assert json.loads(printed)["name"] == "llama-ñ"
    code, printed, _ = talk("eval", "cria", str(data), PYTHONIOENCODING="latin-1")
    assert code == 0
    assert b"accuracy" in printed


def test_names_are_no_markup(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    folder = broken(tmp_path / "[" / "bold] [red]")
    (folder / "LICENSE").write_text("[/nothing] opened")
    table = run(capsys, "inspect", str(folder))
    assert "bold] [red]" in table
    assert "[/nothing] opened" in table
    task = tmp_path / "[bold]x.jsonl"
    task.write_text(data.read_text())
    assert "[bold]x.jsonl" in run(capsys, "eval", "cria", str(task))
    out = tmp_path / "[" / "out]"
    told = run(capsys, "tune", "cria", str(data), "--out", str(out), "--epochs", "1")
    assert str(out / "adapter") in told


def test_places_that_cannot_be_written_are_found_first(
    capsys: pytest.CaptureFixture[str],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import puna.jobs
    import puna.loading

    def never(*_: object, **__: object) -> None:
        pytest.fail("work was begun that could only be lost")

    monkeypatch.setattr(sys.modules["puna.jobs.tune"], "train", never)
    for out in (data, data / "below", Path("/proc/none")):
        said = error(capsys, "tune", "cria", str(data), "--out", str(out))
        assert "cannot write" in said
        assert str(out) in said
    monkeypatch.setattr(puna.loading, "load_parts", never)
    for page in ("", str(tmp_path), str(data / "page.html")):
        assert "cannot write" in error(capsys, "eval", "cria", str(data), "--html", page)


def test_a_page_that_is_not_written_does_not_take_the_figures_with_it(
    capsys: pytest.CaptureFixture[str], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import puna.jobs
    from puna.errors import StorageError

    def full(*_: object) -> None:
        raise StorageError("cannot write page.html: no space")

    monkeypatch.setattr(puna.jobs, "report_page", full)
    with pytest.raises(SystemExit):
        main(["eval", "cria", str(data), "--html", str(data.parent / "page.html"), "--json"])
    said = capsys.readouterr()
    assert "accuracy" in json.loads(said.out)["metrics"]
    assert "no space" in said.err


def test_chat_goes_on_after_a_line_that_cannot_be_asked() -> None:
    code, printed, said = talk("chat", "--max-tokens", "5", said=b"\xff\nWho are you?\n")
    assert code == 0
    assert "surrogate" in said
    assert printed.count(b"model ") == 2


def test_numbers_that_are_too_large(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    for flag in ("--rank", "--seed", "--epochs", "--batch-size"):
        for value in (str(10**23), str(10**400)):
            said = error(capsys, "tune", "cria", str(data), "--out", out, flag, value)
            assert "internal" not in said, flag
    said = error(capsys, "tune", "cria", str(data), "--out", out, "--alpha", "inf")
    assert "alpha" in said
    for key in ("num_hidden_layers", "max_position_embeddings"):
        lying = broken(tmp_path / key, **{key: 10**15})
        said = error(capsys, "inspect", str(lying))
        assert key in said
        assert "config.json" in said
    assert "meta" in error(capsys, "generate", "--prompt", "x", "--device", "meta")


def test_an_internal_error_of_many_lines_stays_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import puna.source

    for problem, says in (
        (ValueError("a\n" * 500), "PUNA_TRACEBACK"),
        (RuntimeError("[enforce fail]\nDefaultCPUAllocator: can't allocate memory"), "memory"),
        (PermissionError(13, "Permission denied", "/x"), "/x"),
    ):

        def explode(*_: object, problem: Exception = problem) -> None:
            raise problem

        monkeypatch.setattr(puna.source, "resolve", explode)
        said = error(capsys, "inspect")
        assert says in said
        assert len(said) < 500


def test_keys_of_the_server_that_are_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUNA_HOME", str(tmp_path))
    assert "API key" in error(capsys, "serve", "--port", "0", "--api-key", "")
    assert not (tmp_path / "server_key").exists()
    (tmp_path / "server_key").write_text("a b\n")
    assert "server_key" in error(capsys, "serve", "--port", "0")


def test_a_bar_shows_before_the_first_step_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from puna.cli import show

    shown = show.Console(stderr=True, force_terminal=True, width=80)
    monkeypatch.setattr(show, "err", shown)
    with shown.capture() as captured, show.bars() as bar:
        bar("tuning", "steps")(0)
        time.sleep(1.5)  # the first step, and no update from it
    assert "tuning" in captured.get()
