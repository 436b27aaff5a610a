"""Compiles and runs templates of either language; every failure becomes a TemplateError."""

from __future__ import annotations

import jinja2

from puna.errors import TemplateError
from puna.text.gotmpl import GoProgram, GoSyntaxError
from puna.text.ids import short
from puna.text.meter import Limits, Stop
from puna.text.sandbox import Program as JinjaProgram
from puna.text.scene import Program, Raised, Run, Scene


def compiled(source: str, name: str, limits: Limits, *, go: bool) -> Program:
    """Compiles a template; nothing in it runs.

    Raises:
        TemplateError: a syntax error with its line, or what a chat template may not use.
    """
    try:
        return GoProgram(source, limits) if go else JinjaProgram(source, limits)
    except (jinja2.TemplateSyntaxError, GoSyntaxError) as exc:
        line = exc.line if isinstance(exc, GoSyntaxError) else exc.lineno
        raise TemplateError(
            f"the chat template has a syntax error: {short(str(exc.args[0] or 'unknown'))}",
            where=f"{name}, line {line}",
        ) from None
    except Stop as exc:
        raise _refused(str(exc), name) from None
    except RecursionError:
        raise _refused("it nests too deep", name) from None
    except Exception as exc:
        # What the template's compiler itself trips over, such as loops nested a hundred deep.
        raise TemplateError(
            f"the chat template cannot be compiled: {short(exc) or type(exc).__name__}", where=name
        ) from None


def rendered(program: Program, scene: Scene, name: str) -> Run:
    """Renders one conversation.

    Raises:
        TemplateError: the template's own refusal or fault, or a limit; with the line.
    """
    try:
        return program.render(scene)
    except Stop as exc:
        raise _refused(str(exc), _place(program, name, exc)) from None
    except Raised as exc:
        raise TemplateError(
            f"the chat template refuses this conversation: {short(exc)}",
            where=_place(program, name, exc),
            remedy="change the messages; the template says what it takes",
        ) from None
    except RecursionError as exc:
        raise _refused("it calls itself without end", _place(program, name, exc)) from None
    except MemoryError as exc:
        raise _refused("it takes more memory than there is", _place(program, name, exc)) from None
    except Exception as exc:
        # A template can fail in every way Python can; none of them may reach the user raw.
        raise TemplateError(
            f"the chat template fails: {short(exc) or type(exc).__name__}",
            where=_place(program, name, exc),
        ) from None


def _place(program: Program, name: str, error: BaseException) -> str:
    line = program.line_of(error)
    return name if line is None else f"{name}, line {line}"


def _refused(reason: str, where: str) -> TemplateError:
    return TemplateError(
        f"the chat template was stopped: {short(reason)}",
        where=where,
        remedy="use a template from a source that you trust",
    )
