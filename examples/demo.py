"""The main job on cria: measure, tune on support tickets, measure, verify, serve, ask, report.

    python examples/demo.py            or            make demo

Everything it makes goes to demo-out/, which is emptied first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI, OpenAIError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text as Styled

from puna import LanguageModel, load
from puna.errors import PunaError
from puna.evaluate import Row, Task, evaluate, majority_baseline, read_task
from puna.formats import write_atomic
from puna.jobs import Tuned, open_base, tune, verify_model
from puna.report import (
    Figure,
    Figures,
    LinePlot,
    Metric,
    Report,
    Scores,
    Section,
    Series,
    Text,
    render_html,
)
from puna.report import Table as ReportTable
from puna.seal import Verification
from puna.tune import Settings, Step

HERE = Path(__file__).resolve().parent
TRAIN, HELDOUT = HERE / "triage" / "train.jsonl", HERE / "triage" / "heldout.jsonl"
OUT = Path("demo-out")
MODEL = "cria"
SETTINGS = Settings(epochs=6, batch_size=16, learning_rate=2e-3)
SHOTS = 5
TICKETS = (
    "Ticket: Good morning, I was billed two times for one lamp. Please correct it.\nLabel?",
    "Ticket: The courier left my box in the rain and now it is gone.\nLabel?",
    "Ticket: I cannot sign in. The page says my password is wrong.\nLabel?",
)

console = Console(highlight=False)


def main() -> None:
    """Run all steps, each under its own heading."""
    began = time.perf_counter()
    shutil.rmtree(OUT, ignore_errors=True)
    heading("1  The model, and whether tuning it fits this machine")
    puna_command("inspect", MODEL)
    puna_command("plan", MODEL, "--for", "tune")
    lm = load(MODEL)
    train_rows, task = read_task(TRAIN).rows, read_task(HELDOUT)

    heading("2  Before: what does it know about support tickets?")
    shots = one_of_each(train_rows)
    scores = {"majority label": majority_baseline(train_rows, task)}
    scores["cria, asked"] = score(lm, task, "asking").metrics["accuracy"]
    scores[f"cria, {len(shots)} examples shown"] = score(
        lm, task, "showing examples", shots
    ).metrics["accuracy"]
    show_scores(scores)

    heading("3  Tune")
    done, speed = run_tuning()

    heading("4  After: the same held-out tickets, whose sentences it never saw")
    after = score(load(MODEL, adapter=done.adapter), task, "asking again")
    scores["cria, tuned"] = after.metrics["accuracy"]
    show_scores(scores)

    heading("5  Is what lies on the disk what was tuned?")
    puna_command("verify", MODEL, "--adapter", str(done.adapter))
    found = verify_model(MODEL, adapter=done.adapter)

    heading("6  Serve it, and ask it through the OpenAI client")
    answers = ask_server(done.adapter)

    page = OUT / "report.html"
    write_report(page, scores, done, speed, after, found, answers)
    heading("7  Report")
    console.print(f"{page.resolve().as_uri()}", soft_wrap=True)
    heading("Next")
    venv = Path(sys.executable).parent
    for line in (
        f"{venv / 'puna'} chat",
        f"{venv / 'puna'} eval {MODEL} {HELDOUT} --adapter {done.adapter}",
        f"{venv / 'puna'} serve {MODEL} --adapter {done.adapter} --port 8000",
    ):
        console.print(f"  {line}", soft_wrap=True)
    console.print(f"\ndone in {time.perf_counter() - began:.0f} s", style="dim")


def heading(text: str) -> None:
    """Print the title of a step."""
    console.print(f"\n[bold]{text}[/]")


def puna_command(*words: str) -> None:
    """Run a command as a user would."""
    subprocess.run([sys.executable, "-m", "puna", *words], check=True)


def one_of_each(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return the first row of each label."""
    first: dict[str | None, Row] = {}
    for row in rows:
        first.setdefault(row.answer, row)
    return tuple(first.values())[:SHOTS]


def score(lm: LanguageModel, task: Task, title: str, shots: tuple[Row, ...] = ()) -> Report:
    """Score a model on the held-out tickets."""
    with Progress(console=console, transient=True) as bar:
        line = bar.add_task(title, total=None)
        return evaluate(
            lm,
            task,
            subject=MODEL,
            max_tokens=8,
            shots=shots,
            on_progress=lambda n, total: bar.update(line, completed=n, total=total),
        )


def show_scores(scores: Mapping[str, Metric]) -> None:
    """Print accuracies with their intervals."""
    table = Table()
    for column in ("", "right", "95 % interval", "tickets"):
        table.add_column(column, justify="right" if column else "left")
    for name, m in scores.items():
        table.add_row(name, f"{m.value:.1%}", f"{m.low:.1%} – {m.high:.1%}", str(m.n))
    console.print(table)


def run_tuning() -> tuple[Tuned, float]:
    """Tune the adapter; return what came of it, and tokens per second."""
    tokens, seconds = 0, 0.0
    base = open_base(MODEL, TRAIN)
    with Progress(*Progress.get_default_columns(), "{task.fields[remark]}", console=console) as bar:
        line = bar.add_task("tuning", total=None, remark="")

        def show(step: Step) -> None:
            nonlocal tokens, seconds
            tokens, seconds = tokens + step.tokens, seconds + step.seconds
            remark = f"loss {step.loss:.3f}  {tokens / seconds:,.0f} tokens/s"
            bar.update(line, total=step.steps, completed=step.step, remark=remark)

        done = tune(base, OUT / "run", settings=SETTINGS, on_step=show)
    console.print(
        f"loss {done.losses[0]:.2f} → {done.losses[-1]:.3f}; adapter in {done.adapter}",
        soft_wrap=True,
    )
    return done, tokens / seconds


@contextmanager
def served(adapter: Path) -> Iterator[dict[str, str]]:
    """Run `puna serve` on a free port; yield what it says when it is ready."""
    words = ["serve", MODEL, "--adapter", str(adapter), "--port", "0", "--name", "triage"]
    process = subprocess.Popen(
        [sys.executable, "-m", "puna", *words, "--api-key", "demo", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if line.rstrip() == "}":
                break
        if not said:
            raise PunaError("the server did not start")
        yield json.loads(said)
    finally:
        process.terminate()
        process.wait()


def ask_server(adapter: Path) -> list[tuple[str, str]]:
    """Ask the served model about tickets that nobody wrote for training."""
    answers = []
    with served(adapter) as server:
        console.print(f"POST {server['base_url']}/chat/completions", style="dim")
        client = OpenAI(base_url=server["base_url"], api_key=server["api_key"])
        for ticket in TICKETS:
            reply = client.chat.completions.create(
                model=server["model"],
                messages=[{"role": "user", "content": ticket}],
                temperature=0,
                max_tokens=8,
            )
            answer = reply.choices[0].message.content or ""
            console.print(f"  {ticket.splitlines()[0]} → [bold]{answer}[/]", soft_wrap=True)
            answers.append((ticket, answer))
    return answers


def write_report(
    page: Path,
    scores: Mapping[str, Metric],
    done: Tuned,
    speed: float,
    after: Report,
    found: Verification,
    answers: list[tuple[str, str]],
) -> None:
    """Write the page: figures, scores, loss, seal, examples."""
    tuned = scores["cria, tuned"]
    losses = tuple((float(i), loss) for i, loss in enumerate(done.losses, 1))
    rows = tuple(
        (str(row["input"]), str(row["expected"]), str(row["said"]), bool(row["right"]))
        for row in sorted(after.samples, key=lambda row: bool(row["right"]))[:30]
    )
    sections = [
        Section(
            "Result",
            (
                Figures(
                    (
                        Figure(
                            "held-out tickets right",
                            f"{tuned.value:.1%}",
                            f"95 % interval {tuned.low:.1%} – {tuned.high:.1%}",
                        ),
                        Figure("before, asked", f"{scores['cria, asked'].value:.1%}"),
                        Figure("tuning", f"{done.seconds:.0f} s", f"{speed:,.0f} tokens/s"),
                        Figure("adapter", f"{adapter_size(done.adapter) / 1024:.0f} KiB"),
                    )
                ),
                Scores(
                    scores,
                    marked=frozenset({"cria, tuned"}),
                    caption="Share of held-out tickets whose label is said exactly. "
                    "Dot: value. Whisker: 95 % interval.",
                ),
            ),
        ),
        Section(
            "Loss",
            (LinePlot((Series("training loss", losses),), "step", "loss (nats per token)"),),
        ),
        Section(
            "The seal: is what lies on the disk what was tuned?",
            (
                ReportTable(
                    ("Check", "Verdict", "Found"),
                    tuple((check.name, check.verdict, check.said) for check in found.checks),
                ),
            ),
        ),
        Section(
            "Answers of the server",
            (ReportTable(("Ticket", "Label"), tuple(answers)),),
        ),
        Section(
            "Held-out tickets, mistakes first",
            (ReportTable(("Ticket", "Expected", "Said", "Right"), rows),),
        ),
        Section(
            "What this shows",
            (
                Text(
                    "cria is a toy of 3 M parameters, and the tickets are short and clean. That "
                    "the score rises shows that tuning and serving work; it says nothing about "
                    "real tickets."
                ),
            ),
        ),
    ]
    html = render_html("Support tickets, sorted by cria", sections, subtitle="puna demo")
    write_atomic(page, html.encode("utf-8"))


def adapter_size(folder: Path) -> int:
    """Return the bytes of the adapter's tensors."""
    return (folder / "adapter_model.safetensors").stat().st_size


if __name__ == "__main__":
    try:
        main()
    except (PunaError, OpenAIError) as error:
        console.print(Styled("error: ", style="bold red") + Styled(str(error)), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
