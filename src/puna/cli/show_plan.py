"""The tables of `puna plan`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from puna.cli.show import out

if TYPE_CHECKING:
    from puna.plan import Plan
    from puna.plan.fleets import Fleet
    from puna.plan.price import Cost, Tokens, Vendor

_BAR = 20  # columns of a full bar


@dataclass(frozen=True)
class Bill:
    """What the user wants to know of a number of tokens, and once planned, what they take."""

    tokens: Tokens | None
    vendors: tuple[Vendor, ...]
    kwh_price: float
    watts: float | None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()

    def of(self, plan: Plan) -> Bill:
        """Return the bill with time and energy, or with a note why there are none."""
        from puna.plan.devices import measured
        from puna.plan.price import estimate, rates_of

        if self.tokens is None:
            return self
        device, machines = plan.device, _holding(plan)
        here = device.kind == "cpu" and device.bandwidth is None
        if machines is None or (here and not plan.fits):
            return replace(self, notes=("no time: it does not fit",))
        if here:
            device = measured(device, plan.dtype)
        rates = rates_of(device, plan.dtype, measured=here)
        if rates is None:
            return replace(self, notes=(f"no time: the rates of {device.name} are not known",))
        split = "Puna does not run split models yet" if machines > plan.machines else ""
        plan = replace(plan, machines=machines)
        cost = estimate(plan, self.tokens, replace(rates, watts=self.watts or rates.watts))
        return replace(self, cost=cost, notes=(*cost.notes, *([split] if split else [])))

    def electricity(self) -> float | None:
        """Return the price of the energy, where that is known."""
        kwh = self.cost.kwh if self.cost else None
        return None if kwh is None else kwh * self.kwh_price

    def facts(self) -> dict[str, Any] | None:
        """Return JSON values: seconds, kWh, prices."""
        if self.cost is None:
            return None
        return {
            **asdict(self.cost),
            "seconds": self.cost.seconds,
            "electricity": self.electricity(),
            "kwh_price": self.kwh_price,
            "vendors": [
                {**asdict(vendor), "price": vendor.price(self.cost.tokens)}
                | {"saved": saved, "saved_per_device_hour": hourly}
                for vendor, saved, hourly in self.savings()
            ],
        }

    def savings(self) -> Iterator[tuple[Vendor, float | None, float | None]]:
        """Yield each vendor with its price less electricity, in all and for a device's hour."""
        if self.cost is None:
            return
        power, hours = self.electricity(), self.cost.seconds * self.cost.machines / 3600
        for vendor in self.vendors:
            saved = None if power is None else vendor.price(self.cost.tokens) - power
            yield vendor, saved, None if saved is None else saved / hours


def show_plan(plan: Plan, many: tuple[Fleet, ...], bill: Bill, notes: tuple[str, ...]) -> None:
    """Print a plan for people."""
    out.print(_model(plan), soft_wrap=True)
    out.print(_title(plan), soft_wrap=True)
    out.print(_parts(plan))
    out.print(_verdict(plan), soft_wrap=True)
    if plan.options:
        out.print(_options(plan))
    if many:
        out.print(_fleets(many))
    if bill.cost is not None:
        out.print(_bill(bill, bill.cost, plan.device.name))
    for remark in notes:
        out.print(Text(f"· {remark}", style="dim"))


def _parts(plan: Plan) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("memory" if plan.machines == 1 else "memory of the fullest")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("of what there is", no_wrap=True)
    for line in plan.lines:
        share = line.bytes / max(plan.capacity, 1)
        table.add_row(line.name, _bytes(line.bytes), _bar(share))
    table.add_section()
    table.add_row("in all", _bytes(plan.total), _bar(plan.total / max(plan.capacity, 1)))
    return table


def _holding(plan: Plan) -> int | None:
    """Return how many of its devices hold the plan as it is; None where no number does."""
    if plan.fits:
        return plan.machines
    more = (o.machines for o in plan.options if (o.use, o.dtype) == (plan.use, plan.dtype))
    return next((machines for machines in more if machines > plan.machines), None)


def _model(plan: Plan) -> Text:
    from puna.spec import count_parameters

    spec, stored = plan.sketch.spec, plan.sketch.stored
    total, active = count_parameters(spec), count_parameters(spec, active=True)
    used = "" if active == total else f", {_count(active)} of them for each token"
    values = max(sum(stored.values()), 1)
    shares = ", ".join(f"{n / values:.0%} {kind}" for kind, n in stored.items() if n >= values / 99)
    files = f"; {_bytes(plan.sketch.files)} of files" if plan.sketch.files else ""
    text = f": {_count(total)} parameters{used}{files}{f' ({shares})' if shares else ''}"
    return Text(plan.sketch.name, style="bold") + Text(text, style="not bold")


def _title(plan: Plan) -> Text:
    from puna.plan import Serve

    use, many = plan.use, "" if plan.machines == 1 else f"{plan.machines} × "
    if isinstance(use, Serve):
        sequences = "1 sequence" if use.batch == 1 else f"{use.batch} sequences"
        what = f"serve {sequences} of {use.context:,} tokens"
    elif use.method == "full":
        what = f"tune every weight, examples of up to {use.context:,} tokens"
    else:
        what = f"tune a LoRA of rank {use.rank}, examples of up to {use.context:,} tokens"
    return Text(f"{what}, {plan.dtype}, on {many}{plan.device.name}")


def _verdict(plan: Plan) -> Text:
    on = "each of them" if plan.machines > 1 else plan.device.name
    sizes = f"it needs {_bytes(plan.total)}, and {on} has {_bytes(plan.capacity)}"
    if plan.fits:
        left = _bytes(plan.capacity - plan.total)
        return Text("fits", style="bold green") + Text(f": {sizes}; {left} are left")
    lacking = _bytes(plan.total - plan.capacity)
    return Text("does not fit", style="bold red") + Text(f": {sizes}; {lacking} are lacking")


def _options(plan: Plan) -> Table:
    table = Table(title="what would fit, the cheapest change first", title_justify="left")
    table.box = SIMPLE_HEAD
    table.add_column("change", overflow="fold")
    table.add_column("then needs", justify="right", no_wrap=True)
    for option in plan.options:
        each = " each" if option.machines > 1 else ""
        table.add_row(option.change, f"{_bytes(option.total)}{each}")
    return table


def _fleets(many: tuple[Fleet, ...]) -> Table:
    table = Table(title="devices that hold it", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("devices", justify="right")
    table.add_column("of", overflow="fold")
    table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("fullest", justify="right", no_wrap=True)
    table.add_column("most of it")
    for fleet in many:
        largest = max(fleet.lines, key=lambda line: line.bytes)
        share = f"{largest.name} {largest.bytes / fleet.total:.0%}"
        table.add_row(
            "too small" if fleet.count is None else str(fleet.count),
            fleet.device.name,
            _bytes(fleet.device.memory),
            _bytes(fleet.total),
            share,
        )
    return table


def _bill(bill: Bill, cost: Cost, device: str) -> Table:
    many = "" if cost.machines == 1 else f"{cost.machines} × "
    read, written = cost.tokens.read, cost.tokens.written
    table = Table(title=f"roughly, on {many}{device}", title_justify="left", box=SIMPLE_HEAD)
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if written:
        table.add_row("tokens", f"{_count(read)} read, {_count(written)} written")
        table.add_row("time reading", _time(cost.read_seconds))
        table.add_row("time writing", _time(cost.write_seconds))
    else:
        table.add_row("tokens", _count(read))
    table.add_row("time", _time(cost.seconds))
    power = bill.electricity()
    if cost.kwh is None or power is None:
        table.add_row("energy", "not known; say --watts")
    else:
        unit = next((vendor.currency for vendor in bill.vendors), "")
        table.add_row("energy", f"{cost.kwh:,.3g} kWh")
        table.add_row("electricity", f"{_money(power, unit)} at {bill.kwh_price:g} per kWh")
    for vendor, saved, hourly in bill.savings():
        table.add_row(vendor.name, _compared(vendor, cost.tokens, saved, hourly))
    return table


def _compared(vendor: Vendor, tokens: Tokens, saved: float | None, hourly: float | None) -> str:
    price = _money(vendor.price(tokens), vendor.currency)
    if saved is None or hourly is None:
        return price
    if saved <= 0:
        return f"{price}, less than the electricity alone"
    return (
        f"{price}; the own way is cheaper if its devices cost less than "
        f"{_money(hourly, vendor.currency)} an hour each, {_money(saved, vendor.currency)} in all"
    )


def _money(amount: float, unit: str) -> str:
    text = f"{amount:,.2f}" if abs(amount) >= 0.1 else f"{amount:.3g}"
    if not unit:
        return text
    return f"{text} {unit}" if unit.isalpha() else f"{unit}{text}"


def _count(number: int) -> str:
    value = float(number)
    for unit in ("", "k", "M", "B"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}T"


def _time(seconds: float) -> str:
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} seconds"


def _bar(share: float) -> Text:
    full = min(_BAR, round(share * _BAR))
    mark = "█" if out.encoding.lower().startswith("utf") else "#"
    style = "red" if share > 1 else "green" if share <= 0.9 else "yellow"
    return Text(mark * full, style=style) + Text(f"{' ' * (_BAR - full)} {share:>4.0%}")


def _bytes(count: float) -> str:
    from puna.source import human_bytes

    return human_bytes(count)
