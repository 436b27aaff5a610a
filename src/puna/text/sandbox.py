"""Jinja in a sandbox that also counts steps, sizes and time.

The language is the one that chat templates are published in: Jinja with trimmed blocks, loop
controls, `raise_exception`, `strftime_now`, a `tojson` that escapes nothing, and generation
blocks. Nothing is loaded, nothing is executed but the template, and every way to grow is
measured before it grows.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import update_wrapper
from typing import Any, cast

from jinja2 import Template
from jinja2.ext import loopcontrols
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import (
    ImmutableSandboxedEnvironment,
    SandboxedEscapeFormatter,
    SandboxedFormatter,
)
from jinja2.utils import Namespace, pass_context
from markupsafe import Markup

from puna.text import guards, rewrite
from puna.text.meter import Limits, Meter, Stop
from puna.text.scene import Raised, Run, Scene

# A template says in its first lines that it takes results of tools as values.
_VALUES = re.compile(r"\{#-?\s*tool results: values\s*-?#\}")
_HEAD = 2_000  # characters
_LONGEST_SOURCE = 100_000  # characters; the largest published templates have 20,000


class Program:
    """A compiled template; immutable, so that threads may run it at once.

    Raises:
        Stop: the template uses what it may not.
        jinja2.TemplateSyntaxError: with the line.
    """

    def __init__(self, source: str, limits: Limits) -> None:
        if len(source) > _LONGEST_SOURCE:
            raise Stop(f"it is longer than {_LONGEST_SOURCE:,} characters")
        self.limits = limits
        self._environment = _Sandbox(limits)
        tree = self._environment.parse(source)
        values = _VALUES.search(source, 0, _HEAD) is not None
        self.traits = replace(rewrite.instrument(tree), values=values)
        code = self._environment.compile(tree, filename="<template>")
        self._template = Template.from_code(self._environment, code, self._environment.globals)

    def render(self, scene: Scene) -> Run:
        """See `puna.text.scene.Program`."""
        variables = {
            "documents": None,
            **scene.tokens,
            **scene.options,
            "messages": list(scene.messages),
            "tools": scene.tools,
            "add_generation_prompt": scene.ask,
        }
        meter = Meter(self.limits)
        for value in variables.values():
            meter.know(value)
        context = self._template.new_context({**variables, "strftime_now": _Clock(scene.now)})
        cast(_Context, context).meter = meter
        parts = []
        for part in self._template.root_render_func(context):
            meter.emit(part)
            parts.append(part)
        meter.finish()
        return Run("".join(parts), tuple(meter.spans))

    def line_of(self, error: BaseException) -> int | None:
        """See `puna.text.scene.Program`."""
        line = None
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


class _Context(Context):
    meter: Meter


class _Clock:
    """`strftime_now`: one moment for the whole rendering, so that renderings compare."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self, format: str) -> str:
        guards.check_date_format(format)
        return self._now.strftime(format)


class _Namespace(Namespace):
    """Jinja's namespace without private names, and one that prints nothing of what it holds."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            if not isinstance(name, str) or name.startswith("_"):
                raise Stop(f"it sets the attribute {name!r}")
        Namespace.__init__(self, attributes)

    def __repr__(self) -> str:
        return "<Namespace>"


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment: every operation that can grow or repeat passes through here."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    context_class = _Context

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[rewrite.GenerationTag, loopcontrols],
            optimized=False,  # folding constants would run operations without a meter
            finalize=_finalize,
            cache_size=0,
        )
        self.limits = limits
        self.puna_tick = _Own(_tick)
        self.puna_pass = _Own(_pass)
        self.puna_made = _Own(_made)
        self.puna_join = _Own(_join)
        self.puna_spread = _Own(_spread)
        self.puna_open = _Own(_open)
        self.puna_close = _Own(_close)
        del self.globals["lipsum"]
        self.globals.update(raise_exception=_raise, namespace=_Namespace, dict=_dict)
        self.filters["tojson"] = _tojson
        for name in guards.DENIED_FILTERS:
            del self.filters[name]
        self.filters = {n: _metered(f, guards.CHECKS.get(n)) for n, f in self.filters.items()}
        self.tests = {n: _metered(f, None) for n, f in self.tests.items()}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = _meter(context)
        meter.tick()
        guards.check_operator(meter, operator, left, right)
        return meter.made(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(obj, _Own):
            return obj.function(context, *args)
        meter = _meter(context)
        meter.tick()
        for value in (*args, *kwargs.values()):
            meter.weigh(value)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            guards.check_method(meter, owner, obj.__name__, args, kwargs)
        return meter.made(super().call(context, obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if attr in guards.DENIED_METHODS and callable(value):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise Stop(f"it reaches for the attribute {attribute!r} of a {type(obj).__name__}")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if not isinstance(value, types.BuiltinMethodType | types.MethodType):
            return None
        text = value.__self__
        if value.__name__ not in {"format", "format_map"} or not isinstance(text, str):
            return None
        meter = Meter(self.limits)
        formatter: SandboxedFormatter = (
            _EscapeFormatter(self, escape=text.escape)
            if isinstance(text, Markup)
            else _Formatter(self)
        )

        def apply(*args: Any, **kwargs: Any) -> str:
            if value.__name__ == "format_map":
                (kwargs,), args = args, ()
            guards.check_format(meter, text, args, kwargs)
            return type(text)(formatter.vformat(text, args, kwargs))

        return update_wrapper(apply, value)


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        limits = cast(_Sandbox, self._env).limits
        guards.check_format_spec(Meter(limits), format_spec)
        return super().format_field(value, format_spec)


class _EscapeFormatter(_Formatter, SandboxedEscapeFormatter):
    pass


def _meter(context: Context) -> Meter:
    return cast(_Context, context).meter


@dataclass(frozen=True, slots=True)
class _Own:
    """A call that the rewriting put in, not the template."""

    function: Callable[..., Any]


def _metered(function: Any, check: Callable[..., None] | None) -> Any:
    """A filter or test that weighs what goes in, checks what would come out, and counts it."""
    kind = getattr(function, "jinja_pass_arg", None)
    lead = kind.name if kind is not None else "none"

    @pass_context
    def run(context: Context, /, *args: Any, **kwargs: Any) -> Any:
        meter = _meter(context)
        meter.tick()
        for value in (*args, *kwargs.values()):
            meter.weigh(value)
        if check is not None:
            check(meter, *args, **kwargs)
        leading: dict[str, tuple[Any, ...]] = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }
        result = function(*leading.get(lead, ()), *args, **kwargs)
        if isinstance(result, Iterator) and not isinstance(result, LoopContext):
            result = _collected(meter, result)
        return meter.made(result)

    return run


def _collected(meter: Meter, values: Iterator[Any]) -> list[Any]:
    """A lazy result made whole here, where each step is counted."""
    collected = []
    for value in values:
        meter.tick()
        collected.append(value)
    return collected


@pass_context
def _finalize(context: Context, value: Any) -> str:
    meter = _meter(context)
    meter.tick()
    if not isinstance(value, str):
        meter.weigh(value)
    text = value if isinstance(value, str) else str(value)
    meter.charge(len(text))
    return text


def _tick(context: Context, size: int = 0) -> None:
    meter = _meter(context)
    meter.tick()
    meter.charge(size)


def _pass(context: Context, value: Any) -> Any:
    _meter(context).tick()
    return value


def _made(context: Context, value: Any) -> Any:
    meter = _meter(context)
    meter.tick()
    return meter.made(value)


def _join(context: Context, *values: Any) -> Any:
    meter = _meter(context)
    meter.tick()
    meter.check(sum(meter.weigh(value) for value in values))
    return meter.made("".join(map(str, values)))


def _spread(context: Context, value: Any) -> Any:
    meter = _meter(context)
    meter.tick()
    meter.spread(value)
    return value


def _open(context: Context) -> None:
    _meter(context).open_block()


def _close(context: Context) -> None:
    _meter(context).close_block()


def _raise(message: Any) -> None:
    raise Raised(str(message))


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


@pass_context
def _tojson(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: nothing is escaped for HTML, and letters stay letters."""
    guards.check_indent(indent)
    meter = _meter(context)
    if separators is not None:
        meter.check(meter.weigh(value) * sum(map(len, separators)))
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    if indent is None:
        return encoder.encode(value)
    parts = []
    size = 0
    for part in encoder.iterencode(value):
        size += len(part)
        meter.check(size)
        parts.append(part)
    return "".join(parts)
