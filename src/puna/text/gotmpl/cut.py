"""The older form of a Go template up to `.Response`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from puna.text.gotmpl.nodes import Action, Block, Command, Field, If, Node, Pipe, Range, With


def before_response(root: Block) -> Block:
    """Everything up to the first `.Response` in the order of the text, which itself stays.

    Blocks that are open there stay, with their else branches emptied.
    """
    return _Cut().block(root)


class _Cut:
    def __init__(self) -> None:
        self._met = False

    def block(self, block: Block) -> Block:
        return tuple(kept for node in block if (kept := self._node(node)) is not None)

    def _node(self, node: Node) -> Node | None:
        if self._met:
            return None
        if isinstance(node, Action):
            pipe = self._pipe(node.pipe)
            return None if pipe is None else replace(node, pipe=pipe)
        if isinstance(node, If | With | Range):
            # As in the reference, what a branch tests is not looked at.
            body = self.block(node.body)
            orelse = None if node.orelse is None else self.block(node.orelse)
            return replace(node, body=body, orelse=orelse)
        return node

    def _pipe(self, pipe: Pipe) -> Pipe | None:
        commands = []
        for command in pipe.commands:
            args = tuple(arg for arg in map(self._operand, command.args) if arg is not None)
            if not args:
                return None
            commands.append(Command(args))
        return replace(pipe, commands=tuple(commands))

    def _operand(self, operand: Any) -> Any:
        if self._met:
            return None
        if isinstance(operand, Field) and "Response" in operand.names:
            self._met = True
            return operand
        return self._pipe(operand) if isinstance(operand, Pipe) else operand
