"""Puts the step counter into a template's syntax tree, before it is compiled.

Jinja's sandbox guards attributes and calls; it does not see loops, joined text (`~`), list
literals, comparisons or captured output. Here each of them becomes a call that the sandbox
does see.
"""

from __future__ import annotations

from typing import Any, cast

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from puna.text.meter import Stop
from puna.text.scene import Traits

TICK = "puna_tick"
PASS = "puna_pass"
MADE = "puna_made"
JOIN = "puna_join"
SPREAD = "puna_spread"
OPEN = "puna_open"
CLOSE = "puna_close"

_REFUSED = {
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.Extends: "{% extends %}",
    nodes.Block: "{% block %}",
    nodes.ScopedEvalContextModifier: "{% autoescape %}",
}


class GenerationTag(Extension):
    """`{% generation %}` … `{% endgeneration %}`: what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - the library's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Marks both ends; what the block sets is not seen after it, as in the reference."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [
            _statement(OPEN, line),
            nodes.Scope(body, lineno=line),
            _statement(CLOSE, line),
        ]


def instrument(tree: nodes.Template) -> Traits:
    """Puts the counter into the tree, in place.

    Raises:
        Stop: a tag that a chat template may not use.
    """
    for kind, tag in _REFUSED.items():
        found = tree.find(kind)
        if found is not None:
            raise Stop(f"it uses {tag} (line {found.lineno}), which a chat template may not")
    for reference in tree.find_all(nodes.NSRef):
        if reference.attr.startswith("_"):
            raise Stop(f"it sets the attribute {reference.attr!r} (line {reference.lineno})")
    writer = _Instrument()
    walks = any(_walks_content(loop.iter) for loop in tree.find_all(nodes.For))
    writer.visit(tree)
    developer = any(node.value == "developer" for node in tree.find_all(nodes.Const))
    return Traits(writer.generation, writer.captured, None if walks else "\n", developer)


def _walks_content(iterated: nodes.Node) -> bool:
    names = [n.name for n in _self_and(iterated, nodes.Name)]
    names += [n.attr for n in _self_and(iterated, nodes.Getattr)]
    names += [n.value for n in _self_and(iterated, nodes.Const)]
    return "content" in names


def _self_and(node: nodes.Node, kind: Any) -> list[Any]:
    return [*([node] if isinstance(node, kind) else []), *node.find_all(kind)]


class _Instrument(NodeTransformer):
    def __init__(self) -> None:
        self.generation = False
        self.captured = False
        self._depth = 0  # of captured text around the present node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self._inside(node, captures=node.recursive)
        node.body.insert(0, _statement(TICK, node.lineno))
        if node.test is not None:
            node.test = _call(PASS, [node.test])
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self._inside(node, captures=True)
        node.body.insert(0, _statement(TICK, node.lineno))
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        self._inside(node, captures=True)
        node.body.insert(0, _statement(TICK, node.lineno))
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        return self._inside(node, captures=True)

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:
        return self._inside(node, captures=True)

    def visit_EnvironmentAttribute(self, node: nodes.EnvironmentAttribute) -> nodes.Node:
        if node.name == OPEN:
            self.generation = True
            self.captured = self.captured or self._depth > 0
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node | list[nodes.Node]:
        self.generic_visit(node)
        literal = sum(len(n.data) for n in node.nodes if isinstance(n, nodes.TemplateData))
        return [_statement(TICK, node.lineno, literal), node] if literal else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call(JOIN, node.nodes)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        return self._spread(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        return self._spread(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        return self._spread(node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        return _call(PASS, [node])

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _call(MADE, [node]) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node, node.items)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._literal(node, node.items) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._literal(node, [pair.value for pair in node.items])

    def _literal(self, node: nodes.Expr, items: list[Any]) -> nodes.Node:
        constant = all(isinstance(item, nodes.Const) for item in items)
        self.generic_visit(node)
        return node if constant else _call(MADE, [node])

    def _spread(self, node: Any) -> nodes.Node:
        """Arguments given as `*text` are taken apart before any call that could check them."""
        self.generic_visit(node)
        if node.dyn_args is not None:
            node.dyn_args = _call(SPREAD, [node.dyn_args])
        return cast(nodes.Node, node)

    def _inside(self, node: nodes.Node, *, captures: bool) -> nodes.Node:
        self._depth += captures
        self.generic_visit(node)
        self._depth -= captures
        return node


def _call(name: str, arguments: list[Any]) -> nodes.Call:
    line = arguments[0].lineno if arguments else 0
    target = nodes.EnvironmentAttribute(name, lineno=line)
    return nodes.Call(target, arguments, [], None, None, lineno=line)


def _statement(name: str, line: int, size: int | None = None) -> nodes.ExprStmt:
    arguments = [] if size is None else [nodes.Const(size, lineno=line)]
    return nodes.ExprStmt(_call(name, arguments), lineno=line)
