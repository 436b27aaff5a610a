"""The loop: gradients against plain autograd, resumption bit for bit, kills at random points."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from puna.adapter import attach
from puna.data import Encoded, collate
from puna.errors import DataError, PunaError, UsageError
from puna.families import name_table
from puna.model import Decoder, Rows, Segments
from puna.tune import Settings, Step, has_checkpoint, train
from puna.tune import loss as loss_module
from tests.unit.tiny import tiny


def rows(count: int = 24, seed: int = 5) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        size = int(torch.randint(3, 20, (), generator=generator))
        ids = torch.randint(0, 61, (size,), generator=generator, dtype=torch.int32)
        learn = torch.rand(size, generator=generator) < 0.6
        learn[-1] = True
        made.append(Encoded(ids, learn))
    return made


def learning(seed: int = 0) -> Decoder:
    _, model = tiny(seed)
    return model.requires_grad_(True)


def test_loss_and_gradient_equal_plain_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "_LOGITS", 61 * 7)  # several slices, the last one short
    data = rows(9)
    learned = sum(int(r.learn[1:].sum()) for r in data)
    model, plain = learning(), learning()
    got = sum(
        loss_module.backward(model, batch, learned=learned, rows=Rows())
        for batch in collate(data, max_tokens=40)
    )
    want = torch.zeros(())
    for example in data:
        ids = example.ids.long()
        ctx = Segments([len(ids)])
        logits = plain.head(plain(ids, ctx.positions, ctx), ctx.rows)
        each = F.cross_entropy(logits[:-1], ids[1:], reduction="none")
        want = want + (each * example.learn[1:]).sum() / learned
    want.backward()
    assert got == pytest.approx(float(want.detach()), rel=1e-5)
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None, name
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name


def test_memory_slices_do_not_change_the_step() -> None:
    losses = [
        train(learning(), rows(), Settings(epochs=2, batch_size=8, micro_tokens=micro))
        for micro in (10, 10_000)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_it_learns_and_tells_every_step() -> None:
    steps: list[Step] = []
    settings = Settings(epochs=30, batch_size=8, learning_rate=3e-3)
    losses = train(learning(), rows(8), settings, on_step=steps.append)
    assert losses[-1] < 0.3 * losses[0]
    assert [s.loss for s in steps] == list(losses)
    assert steps[-1].step == steps[-1].steps == 30
    assert steps[0].tokens == sum(len(r.ids) for r in rows(8))


def test_the_schedule_rises_and_falls() -> None:
    settings = Settings(learning_rate=1.0, warmup=0.1, final=0.1)
    rates = [settings.learning_rate_at(i, 100) for i in range(100)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[99] == pytest.approx(0.1, abs=1e-3)
    assert rates[55] == pytest.approx(0.55, abs=1e-2)
    assert Settings(warmup=0).learning_rate_at(0, 1) == pytest.approx(1e-3)


class Interrupted(Exception):
    pass


def interrupted(model: Decoder, use: Rows, state: Path, settings: Settings, at: int) -> None:
    def stop(step: Step) -> None:
        if step.step == at:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(model, rows(), settings, state=state, rows=use, on_step=stop)


@pytest.mark.parametrize("at", [1, 5, 7, 11])
def test_a_break_changes_no_bit(tmp_path: Path, at: int) -> None:
    """With dropout, so that the random numbers of each step must come back too."""
    settings = Settings(epochs=3, batch_size=6, save_every=4)

    def fresh() -> tuple[Decoder, Rows]:
        spec, model = tiny()
        slot = attach(model, name_table(spec), rank=3, alpha=6, dropout=0.2)
        return model.train(), Rows(slot)

    model, use = fresh()
    losses = train(model, rows(), settings, rows=use)
    interrupted(*fresh(), tmp_path, settings, at)
    again, use = fresh()
    assert train(again, rows(), settings, rows=use, state=tmp_path) == losses
    for (name, a), b in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    settings = Settings(epochs=1, batch_size=8)
    first, second = learning(), learning()
    losses = train(first, rows(), settings, state=tmp_path)
    steps: list[Step] = []
    assert train(second, rows(), settings, state=tmp_path, on_step=steps.append) == losses
    assert steps == []
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_of_something_else_is_not_continued(tmp_path: Path) -> None:
    settings = Settings(epochs=1, batch_size=8)
    train(learning(), rows(), settings, state=tmp_path, about={"model": "a"})
    for data, how, about, named in (
        (rows(seed=6), settings, {"model": "a"}, "data"),
        (rows(), replace(settings, learning_rate=1.0), {"model": "a"}, "learning_rate"),
        (rows(), settings, {"model": "b"}, "model"),
    ):
        with pytest.raises(UsageError, match=named):
            train(learning(), data, how, state=tmp_path, about=about)
    # How often it saves is free.
    train(learning(), rows(), replace(settings, save_every=1), state=tmp_path, about={"model": "a"})


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(tmp_path: Path) -> None:
    settings = Settings(epochs=2, batch_size=6, save_every=2)
    model = learning()

    def poison(step: Step) -> None:
        if step.step == 5:
            with torch.no_grad():
                model.embed.tokens[:] = math.nan

    with pytest.raises(DataError, match="step 6 is not finite"):
        train(model, rows(), settings, state=tmp_path, on_step=poison)
    losses = train(learning(), rows(), settings, state=tmp_path)
    assert len(losses) == 8
    assert all(map(math.isfinite, losses))


@pytest.mark.parametrize("damage", ["cut", "json", "other", "gone", "short"])
def test_a_damaged_state_is_an_error(tmp_path: Path, damage: str) -> None:
    settings = Settings(epochs=1, batch_size=8)
    train(learning(), rows(), settings, state=tmp_path)
    (file,) = tmp_path.glob("step-*.safetensors")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "gone":
        file.unlink()
    elif damage == "json":
        (tmp_path / "state.json").write_text("{")
    else:
        body = json.loads((tmp_path / "state.json").read_text())
        body["losses"] = body["losses"][:-1]
        if damage == "other":
            del body["losses"]
        (tmp_path / "state.json").write_text(json.dumps(body))
    with pytest.raises(PunaError):
        train(learning(), rows(), settings, state=tmp_path)


def test_nothing_to_train() -> None:
    _, frozen = tiny()
    with pytest.raises(UsageError, match="nothing to train"):
        train(frozen, rows(), Settings())
    with pytest.raises(UsageError, match="nothing to train"):
        train(learning(), [], Settings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"learning_rate": math.nan},
        {"batch_size": -1},
        {"warmup": 2.0},
        {"clip": 0},
        {"seed": 1 << 32},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]


RUN = """
import sys
from pathlib import Path
import torch
from puna.tune import Settings, train
from tests.unit.test_tune import learning, rows
torch.set_num_threads(1)
model = learning()
train(model, rows(), Settings(epochs=40, batch_size=6, save_every=3), state=Path(sys.argv[1]))
"""


def test_kill_nine_at_random_points_ends_in_the_same_weights(tmp_path: Path) -> None:
    def start(state: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(state)], cwd=Path(__file__).parents[2]
        )

    assert start(tmp_path / "whole").wait() == 0
    draw, kills = random.Random(os.getpid()), 0
    killed = tmp_path / "killed"
    while True:
        process = start(killed)
        while process.poll() is None and not has_checkpoint(killed):
            time.sleep(0.005)
        time.sleep(draw.random() * 0.15)
        if process.poll() is None and kills < 6:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert process.wait() == 0
        break
    whole, again = ((tmp_path / n / "state.json").read_text() for n in ("whole", "killed"))
    assert json.loads(whole) == json.loads(again)
    name = json.loads(whole)["tensors"]
    assert (tmp_path / "whole" / name).read_bytes() == (killed / name).read_bytes()
    assert kills > 0
    assert [p.name for p in killed.glob("step-*")] == [name]
