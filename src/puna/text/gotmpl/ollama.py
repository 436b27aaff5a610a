"""A conversation as Ollama hands it to a Go template.

Two forms are in use. The newer walks `.Messages`; the older shows one exchange, `.System`,
`.Prompt` and `.Response`, and is run once for each. Both always end where the assistant speaks
next. Read from the `template` and `api` packages of Ollama, which this follows to the character.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from puna.text.gotmpl import functions
from puna.text.gotmpl.cut import before_response
from puna.text.gotmpl.data import go_messages, go_tools
from puna.text.gotmpl.evaluator import Walk, Wrong
from puna.text.gotmpl.nodes import Action, Command, Field, Pipe, names_in
from puna.text.gotmpl.parser import Tree, parse
from puna.text.meter import Limits, Meter, Stop
from puna.text.scene import Raised, Run, Scene, Traits

_LONGEST_SOURCE = 100_000  # characters, as for Jinja
_NOBODY = "puna"  # the role of a message that marks the end of the one before it
_THINK = ("think", "enable_thinking", "thinking")
_RESPONSE = Action(Pipe((Command((Field(("Response",)),)),), (), False, 1), 1)


class GoProgram:
    """A parsed Go template; immutable, so that threads may run it at once.

    Raises:
        Stop: it is too long.
        GoSyntaxError: with the line.
    """

    def __init__(self, source: str, limits: Limits) -> None:
        if len(source) > _LONGEST_SOURCE:
            raise Stop(f"it is longer than {_LONGEST_SOURCE:,} characters")
        self._limits = limits
        tree = parse(source, functions.NAMES)
        blocks = (tree.root, *tree.named.values())
        names = {name.lower() for block in blocks for name in names_in(block)}
        self._walks = "messages" in names
        if not self._walks and "response" not in names:
            tree = replace(tree, root=(*tree.root, _RESPONSE))
        self._tree = tree
        self._cut = tree if self._walks else Tree(before_response(tree.root), tree.named)
        self.traits = Traits(False, False, "\n\n", '"developer"' in source)

    def render(self, scene: Scene) -> Run:
        """See `puna.text.scene.Program`.

        Without `ask` the text ends with the last message. In the older form that is known only
        for an assistant's message.
        """
        meter = Meter(self._limits)
        context = functions.Context(meter, scene.now)
        data = {"Response": "", **_thinking(scene.options)}
        messages = list(_collated(scene.messages))
        if self._walks:
            system = "\n\n".join(m["content"] for m in scene.messages if m["role"] == "system")
            data |= {"System": system, "Tools": go_tools(scene.tools)}
            return Run(self._newer(messages, data, context, ask=scene.ask), ())
        _refuse_calls(messages, scene.tools)
        return Run(self._older(messages, data, context, ask=scene.ask), ())

    def line_of(self, error: BaseException) -> int | None:
        """See `puna.text.scene.Program`."""
        return error.line if isinstance(error, Wrong) else None

    def _newer(
        self,
        messages: list[dict[str, Any]],
        data: dict[str, Any],
        context: functions.Context,
        *,
        ask: bool,
    ) -> str:
        end = [] if ask else [{"role": _NOBODY, "content": ""}]
        shown = go_messages([*messages, *end])
        walk = Walk(self._tree, context, watched=shown)
        text = walk.run(self._tree.root, {**data, "Messages": shown})
        if ask:
            return text
        starts = [start for index, start, _ in walk.marks if index == len(messages)]
        if not starts:
            raise Raised("it has no loop over .Messages, so the last message's end is not known")
        return text[: starts[-1]]

    def _older(
        self,
        messages: list[dict[str, Any]],
        data: dict[str, Any],
        context: functions.Context,
        *,
        ask: bool,
    ) -> str:
        walk = Walk(self._tree, context)
        *finished, last = _exchanges(messages)
        for exchange in finished:
            walk.run(self._tree.root, {**data, **exchange})
        whole = not ask and last["Response"]
        walk.tree = self._tree if whole else self._cut
        return walk.run(walk.tree.root, {**data, **last})


def _thinking(options: Mapping[str, Any]) -> dict[str, Any]:
    """`.Think`, `.ThinkLevel` and `.IsThinkSet` from the options that ask for thinking."""
    unknown = sorted(set(options) - {*_THINK, "reasoning_effort", "documents"})
    if unknown:
        raise Raised(f"a Go template has no place for the option {unknown[0]!r}")
    given = [options[name] for name in _THINK if options.get(name) is not None]
    level = options.get("reasoning_effort")
    think = given[0] if given else level
    level = think if isinstance(think, str) else level or ""
    return {"Think": bool(think), "ThinkLevel": str(level), "IsThinkSet": think is not None}


def _collated(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Messages of one role in a row become one, but for the results of tools."""
    held: dict[str, Any] | None = None
    for message in messages:
        message = {**message, "role": message["role"].lower(), "content": message["content"] or ""}
        if held is not None and held["role"] == message["role"] != "tool":
            held["content"] += f"\n\n{message['content']}"
            held["tool_calls"] = [*_calls(held), *_calls(message)]
            continue
        if held is not None:
            yield held
        held = message
    if held is not None:
        yield held


def _calls(message: dict[str, Any]) -> list[Any]:
    return message.get("tool_calls") or []


def _refuse_calls(messages: Sequence[dict[str, Any]], tools: list[Any] | None) -> None:
    """The older form has no place for tools; to drop them would be silent damage."""
    if tools or any(m["role"] == "tool" or m.get("tool_calls") for m in messages):
        raise Raised("it shows .Prompt and .Response only, and has no place for tools")
    other = [m["role"] for m in messages if m["role"] not in {"system", "user", "assistant"}]
    if other:
        raise Raised(f"it has no place for the role {other[0]!r}")


def _exchanges(messages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """System, prompt and response, again and again; what has not come yet is empty."""
    done: list[dict[str, str]] = []
    now = {"System": "", "Prompt": "", "Response": ""}
    for message in messages:
        key = {"system": "System", "user": "Prompt", "assistant": "Response"}[message["role"]]
        later = {"System": ("Prompt", "Response"), "Prompt": ("Response",), "Response": ()}[key]
        if any(now[other] for other in later):
            done.append(now)
            now = {"System": "", "Prompt": "", "Response": ""}
        now[key] = message["content"]
    return [*done, now]
