"""Tuning from a model's name and a data file to a folder with an adapter.

OUT/adapter   the adapter in PEFT's layout, with tokenizer and chat template beside it
OUT/state     where the run stands, for --resume
OUT/run.json  what was done: settings, data, losses, time
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import puna
from puna.adapter import attach, write_adapter
from puna.data import Encoded, encode_all, fingerprint, read_examples
from puna.errors import UsageError
from puna.formats import check_writable, write_atomic
from puna.loading import DType, Known, Parts, Quant, load_parts
from puna.model import Rows
from puna.plan import Tune as TuneUse
from puna.plan import Use
from puna.plan.check import check_fits
from puna.saving import check_sealed, seal_adapter
from puna.seal import Stop, break_seal, measure_stop
from puna.text import save_template, save_tokenizer
from puna.tune import Settings, Step, has_checkpoint, train

# Examples, spread over the data, whose ends are looked at after tuning.
_ENDS = 32


@dataclass(frozen=True, slots=True)
class Lora:
    """The shape of the adapter. `targets` are last parts of module names; none means all."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A base model and the data that is to tune it, encoded: all that can be wrong has been seen.

    `tokens` and `learned` count the data once; `ending` are the examples that teach to end an
    answer.
    """

    name: str
    parts: Parts
    examples: list[Encoded]
    tokens: int
    learned: int
    ending: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of a run: the adapter's folder, the loss of every step in nats, seconds.

    `remarks` say what is wrong with it: that it changes nothing, or that its answers never end.
    """

    adapter: Path
    losses: tuple[float, ...]
    seconds: float
    remarks: tuple[str, ...] = ()


def open_base(
    model: str | Path,
    data: Path,
    *,
    lora: Lora | None = None,
    settings: Settings | None = None,
    dtype: DType = "auto",
    quant: Quant = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    template: str | Path | None = None,
    on_load: Callable[[int, int], None] | None = None,
    on_encode: Callable[[int, int], None] | None = None,
) -> Opened:
    """Read the data, encode it for the model, plan the run, then read the model's weights.

    Raises:
        FitError: a run of this shape would not fit in memory; no weight was read.
        PunaError: what is wrong with either, before anything is written.
    """
    rows = read_examples(data)
    examples: list[Encoded] = []

    def before(known: Known) -> None:
        spec, text = known.description.spec, known.text
        examples.extend(
            encode_all(
                rows,
                tokenizer=text.tokenizer,
                template=text.template,
                context=spec.context,
                on_progress=on_encode,
            )
        )
        use = _use(examples, lora or Lora(), settings or Settings())
        check_fits(known, lambda _: use)

    parts = load_parts(
        model,
        dtype=dtype,
        quant=quant,
        device=device,
        ignore_keys=ignore_keys,
        template=template,
        before=before,
        progress=on_load,
    )
    check_sealed(parts)
    tokens = sum(len(row.ids) for row in examples)
    learned = sum(int(row.learn[1:].sum()) for row in examples)
    stops = torch.tensor(sorted(parts.text.stop_ids), dtype=torch.int32)
    ending = sum(bool(torch.isin(row.ids[row.learn], stops).any()) for row in examples)
    return Opened(parts.source.name, parts, examples, tokens, learned, ending)


def _use(examples: Sequence[Encoded], lora: Lora, settings: Settings) -> Use:
    """Return what a run comes to at its fullest: a micro-batch of the longest examples."""
    longest = max((len(example.ids) for example in examples), default=1)
    at_once = min(settings.micro_tokens, settings.batch_size * longest)
    return TuneUse("lora", max(1, longest), max(1, at_once), lora.rank, lora.targets)


def check_out(out: Path, *, resume: bool) -> None:
    """See that a run can be kept in a folder, before any work is done.

    Raises:
        UsageError: it holds a run and `resume` is not set.
        StorageError: it cannot be written.
    """
    if has_checkpoint(out / "state") and not resume:
        raise UsageError(
            f"{out} holds a run already",
            remedy="pass --resume to go on with it, or choose another folder",
        )
    check_writable(out / "run.json")


def tune(
    base: Opened,
    out: Path,
    *,
    lora: Lora | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    on_step: Callable[[Step], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Tuned:
    """Tune a LoRA adapter and write it to `out`/adapter.

    Args:
        base: from `open_base`; its model carries the adapter afterwards.
        out: the run's folder.
        lora, settings: the shape of the adapter, and how to train.
        resume: go on with the run that is in `out`; without one, begin.
        on_step: called after every step.
        stop: asked after every step whether to end there; the step is saved first.

    Raises:
        UsageError: `out` holds a run and `resume` is not set, or a run of other data or settings.
        StorageError: `out` cannot be written; found before the first step.
        AdapterError, DataError, StorageError: as `attach` and `train`.
        KeyboardInterrupt: `stop` said so.
    """
    lora, settings = lora or Lora(), settings or Settings()
    check_out(out, resume=resume)
    began, parts = time.perf_counter(), base.parts
    slot = attach(parts.model, parts.table, seed=settings.seed, **asdict(lora))
    about = {"model": base.name, "dtype": str(parts.model.dtype), **_plain(asdict(lora))}
    if parts.packing is not None:  # as QLoRA does (Dettmers et al. 2023)
        about["quant"] = parts.packing.format
    parts.model.train()
    losses = train(
        parts.model,
        base.examples,
        settings,
        rows=Rows(slot),
        state=out / "state",
        about=about,
        on_step=on_step,
        stop=stop,
    )
    parts.model.eval()
    adapter = out / "adapter"
    break_seal(adapter)
    if parts.text.tokenizer is not None and parts.text.template is not None:
        save_tokenizer(parts.text.tokenizer, adapter)
        save_template(parts.text.template, adapter)
    write_adapter(adapter, parts.model, slot, parts.table, base=base.name)
    remarks = seal_adapter(parts, adapter, slot, stop=_stop(base, slot))
    done = Tuned(adapter, losses, time.perf_counter() - began, remarks)
    record = {**about, **_plain(asdict(settings)), **_record(base, done)}
    write_atomic(out / "run.json", (json.dumps(record, indent=2) + "\n").encode())
    return done


def _stop(base: Opened, slot: int) -> Stop | None:
    chosen = base.examples[:: max(1, len(base.examples) // _ENDS)][:_ENDS]
    rows = [(row.ids.tolist(), row.learn.tolist()) for row in chosen]
    return measure_stop(base.parts.model, rows, base.parts.text.stop_ids, slot)


def _record(base: Opened, done: Tuned) -> dict[str, object]:
    return {
        "examples": len(base.examples),
        "tokens": base.tokens,
        "learned_tokens": base.learned,
        "data_sha256": fingerprint(base.examples),
        "seconds": round(done.seconds, 3),
        "puna": puna.__version__,
        "torch": torch.__version__,
        "remarks": done.remarks,
        "losses": done.losses,
    }


def _plain(values: dict[str, object]) -> dict[str, object]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
