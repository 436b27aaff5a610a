"""One plan: what is needed, what there is, and what would fit."""

from __future__ import annotations

from collections.abc import Iterator

from puna.errors import UsageError
from puna.plan.estimate import check_use, dtype_of, estimate, total_of
from puna.plan.options import find_options
from puna.plan.packed import opened_as
from puna.plan.record import Device, Plan, Sketch, Tune, Use
from puna.spec import MoE


def make_plan(
    sketch: Sketch,
    use: Use,
    *,
    dtype: str = "auto",
    quant: str = "auto",
    device: Device,
    machines: int = 1,
) -> Plan:
    """Return what a model needs for a use, next to what a device has; no weight is touched.

    Args:
        sketch: the model.
        use: what for.
        dtype: what weights are kept in; `auto` is the checkpoint's own.
        quant: what weights are packed in; see `puna.formats.choose_packing`.
        device: where.
        machines: how many such devices share the layers.

    Raises:
        UsageError: what cannot be meant, such as more tokens than the model's context, or packed
            weights that are to learn.
        AdapterError: a target that no module of the model has.
    """
    if machines < 1:
        raise UsageError(f"{machines} devices hold nothing", remedy="give at least one")
    name = dtype_of(sketch, dtype)
    found, sketch = sketch, opened_as(sketch, quant, name)
    check_use(sketch, use)
    lines = estimate(sketch, use, name, device.kind, machines)
    total = total_of(lines)
    fits = total <= device.memory
    options = () if fits else find_options(found, use, (name, quant), device, machines)
    notes = tuple(_notes(sketch, use, name, machines))
    return Plan(
        sketch,
        use,
        name,
        device,
        machines,
        tuple(lines),
        total,
        device.memory,
        fits,
        options,
        notes,
    )


def _notes(sketch: Sketch, use: Use, dtype: str, machines: int) -> Iterator[str]:
    if machines > 1:
        yield (
            f"layers are split whole over {machines} devices, the figures are of the fullest; "
            "Puna does not run split models yet"
        )
    if isinstance(use, Tune) and use.method == "full":
        yield "Puna trains adapters today; full tuning is planned as AdamW would do it"
    if any(isinstance(layer.ffn, MoE) for layer in sketch.spec.layers):
        yield "tokens are taken to spread evenly over the experts"
    quantized = sorted(set(sketch.stored) - {"F64", "F32", "F16", "BF16"})
    if sketch.packing is not None:
        yield f"weights are packed as {sketch.packing.format}; activations are in {dtype}"
    elif quantized:
        yield f"weights stored as {', '.join(quantized)} are unpacked to {dtype} as they are read"
