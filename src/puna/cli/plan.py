"""`puna plan`: whether a model fits, what would make it fit, and roughly what its tokens cost."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from puna.cli.opening import Quant
from puna.cli.show import bars, print_json
from puna.errors import UsageError

if TYPE_CHECKING:
    from puna.cli.show_plan import Bill
    from puna.plan import Plan, Sketch, Use
    from puna.plan.fleets import Fleet
    from puna.plan.sketch import Found

_TUNED_CONTEXT = 2048  # tokens of the longest example where none is said


@Parameter(name="*")
@dataclass(frozen=True)
class Purpose:
    """What the model is for."""

    use: Annotated[Literal["serve", "tune"], Parameter(name="--for")] = "serve"
    "Serving it, or tuning it."
    context: int | None = None
    "Tokens of a sequence, or of the longest example. Without it: the model's, in tuning 2048."
    batch: int = 1
    "Sequences at once, in serving."
    cache: Literal["auto", "int8"] = "auto"
    "What keys and values are kept in, in serving: the model's dtype, or 8 bits."
    method: Literal["lora", "full"] = "lora"
    "What is tuned: an adapter, or every weight."
    batch_tokens: int = 8192
    "Tokens that run at once in tuning; they are made of whole examples."
    rank: int = 8
    "Rank of the adapter."
    targets: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "Module to adapt, such as q_proj; may be repeated. Without it: all linear maps."
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    "What weights are kept in; auto is the checkpoint's own, bfloat16 for a quantized GGUF."

    quant: Quant = "auto"
    "What weights are packed in, as they are read or as they are kept; auto unpacks a GGUF."

    def of(self, sketch: Sketch) -> Use:
        """Return the use of a model."""
        from puna.plan import Serve, Tune

        longest = sketch.spec.context
        if self.use == "serve":
            context = longest if self.context is None else self.context
            return Serve(context, self.batch, cache=self.cache)
        context = min(longest, _TUNED_CONTEXT) if self.context is None else self.context
        return Tune(self.method, context, self.batch_tokens, self.rank, self.targets)


@Parameter(name="*")
@dataclass(frozen=True)
class Tally:
    """What a number of tokens takes."""

    tokens: str | None = None
    "Tell time and energy of so many: 10M, or read:written as in 8M:2M; else split 3:1."
    watts: float | None = None
    "Power of one device, where it is not known."
    kwh_price: float = 0.30
    "Price of electricity per kWh, in the currency of the vendors."
    vendor: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "A price to compare with, NAME:IN/OUT per million tokens; may be repeated."


def plan_command(
    model: str,
    *,
    purpose: Purpose | None = None,
    device: str = "auto",
    machines: int = 1,
    tally: Tally | None = None,
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show whether a model fits, before any of its weights is downloaded.

    Of a model that is not on this disk the hub is asked for config and headers, not for weights.

    Parameters
    ----------
    model
        A folder (one that holds only a config.json will do), a GGUF file, a name of the catalog,
        or the id of a model on the hub, such as ORG/NAME or ORG/NAME:Q4_K_M.
    device
        cpu, cuda or auto (of this machine), a memory such as 24GB, or a device such as h100.
    machines
        How many of these devices.
    ignore_key
        A config key to pass over although it is unknown; may be repeated.
    json
        Print one JSON object.
    """
    from puna.cli.show_plan import show_plan
    from puna.plan import make_plan
    from puna.plan.devices import find_device
    from puna.plan.fleets import fleets

    wanted, bill = purpose or Purpose(), _bill(tally or Tally())
    on = find_device(device)
    found = _look_up(model, ignore_key)
    use = wanted.of(found.sketch)
    with bars() as bar:
        bar("planning", "plans")(0)
        plan = make_plan(
            found.sketch, use, dtype=wanted.dtype, quant=wanted.quant, device=on, machines=machines
        )
        many = () if plan.fits and machines == 1 else fleets(plan)
        bill = bill.of(plan)
    notes = (*found.notes, *_download(found), *plan.notes, *bill.notes)
    if json:
        print_json(_facts(found, plan, many, bill, notes))
    else:
        show_plan(plan, many, bill, notes)


def _look_up(model: str, ignore_keys: tuple[str, ...]) -> Found:
    from puna.plan.sketch import look_up

    with bars() as bar:
        update = bar("reading headers", "files")
        update(0)
        return look_up(
            model,
            ignore_keys=ignore_keys,
            on_file=lambda done, total, name: update(done, total, name),
        )


def _bill(tally: Tally) -> Bill:
    from puna.cli.show_plan import Bill
    from puna.plan.price import check_currencies, parse_tokens, parse_vendor

    for name, value in (("watts", tally.watts), ("kwh-price", tally.kwh_price)):
        if value is not None and not 0 < value < 1e9:
            raise UsageError(f"{name} must be a number above 0, not {value}")
    vendors = tuple(parse_vendor(text) for text in tally.vendor)
    check_currencies(vendors)
    return Bill(
        None if tally.tokens is None else parse_tokens(tally.tokens),
        vendors,
        tally.kwh_price,
        tally.watts,
    )


def _download(found: Found) -> tuple[str, ...]:
    """Return what there is to download, and whether the disk has room for it."""
    from puna.home import hub_cache
    from puna.source import human_bytes

    if found.place == "disk":
        return ()
    folder = next(path for path in (hub_cache(), *hub_cache().parents) if path.is_dir())
    free, size = shutil.disk_usage(folder).free, found.download
    room = "has room" if free > size else "is too small"
    asked = f"; {human_bytes(found.fetched)} were read for this plan" if found.fetched else ""
    return (
        f"to download: {human_bytes(size)}; the disk {room} with {human_bytes(free)} free{asked}",
    )


def _facts(
    found: Found, plan: Plan, many: tuple[Fleet, ...], bill: Bill, notes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the plan as JSON values; bytes, seconds, kWh."""
    from puna.spec import count_parameters

    sketch = found.sketch
    return {
        "model": sketch.name,
        "place": found.place,
        "family": sketch.spec.family,
        "parameters": count_parameters(sketch.spec),
        "active_parameters": count_parameters(sketch.spec, active=True),
        "form": sketch.form,
        "stored": dict(sketch.stored),
        "files": sketch.files,
        "download": found.download,
        "for": type(plan.use).__name__.lower(),
        "use": asdict(plan.use),
        "dtype": plan.dtype,
        "packing": plan.sketch.packing and plan.sketch.packing.format,
        "device": asdict(plan.device),
        "machines": plan.machines,
        "fits": plan.fits,
        "total": plan.total,
        "capacity": plan.capacity,
        "lines": {line.name: line.bytes for line in plan.lines},
        "options": [asdict(option) for option in plan.options],
        "devices": [
            {"device": fleet.device.name, "memory": fleet.device.memory, "count": fleet.count}
            | {"total": fleet.total, "lines": {line.name: line.bytes for line in fleet.lines}}
            for fleet in many
        ],
        "cost": bill.facts(),
        "notes": list(notes),
    }
