"""Which names some code reads before it writes them, and which it makes: from its syntax, without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

__all__ = ["bindings", "loads"]

QUERY_NAME = re.compile(r"@([^\W\d]\w*)")  # names of variables inside the text of a pandas query
Functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Loads(ast.NodeVisitor):
    """Names that are read before they are certainly written, in the order of execution.

    What is written in one branch only, or in a loop that may have no round, counts as not written: a name
    too many does no harm.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.written: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.written.add(node.id)
        elif node.id not in self.written:
            self.found.add(node.id)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found |= set(QUERY_NAME.findall(node.value)) - self.written

    def visit_Assign(self, node: ast.Assign) -> None:
        self._each([node.value, *node.targets])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._each([node.value, node.target] if node.value else [])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and node.target.id not in self.written:
            self.found.add(node.target.id)
        self._each([node.value, node.target])

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.written |= {a.asname or a.name.split(".")[0] for a in node.names}

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        defaults = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
        self._each([*node.decorator_list, *defaults])
        self._inside(node.body, _arguments(node.args) | _stored(node.body) | {node.name})
        self.written.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._each([d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None])
        self._inside([node.body], _arguments(node.args))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._each([*node.decorator_list, *node.bases, *(k.value for k in node.keywords)])
        self._inside(node.body, set())
        self.written.add(node.name)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        before = set(self.written)
        for part in node.generators:
            self._each([part.iter, part.target, *part.ifs])
        self._each([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.written = before

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._branches([node.body, node.orelse])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._branches([[node.target, *node.body], node.orelse])

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._branches([node.body, node.orelse])

    def visit_Try(self, node: ast.Try) -> None:
        handlers: list[list[ast.AST]] = []
        for handler in node.handlers:
            name = [ast.Name(handler.name, ast.Store())] if handler.name else []
            handlers.append([*([handler.type] if handler.type else []), *name, *handler.body])
        self._branches([[*node.body, *node.orelse], *handlers])
        self._each(node.finalbody)

    def _each(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _branches(self, branches: Iterable[Iterable[ast.AST]]) -> None:
        """Visit each branch from the same start; keep none of what it alone writes."""
        before = set(self.written)
        for nodes in branches:
            self._each(nodes)
            self.written = set(before)

    def _inside(self, nodes: Iterable[ast.AST], own: set[str]) -> None:
        """Visit a body with names of its own."""
        before = set(self.written)
        self.written |= own
        self._each(nodes)
        self.written = before


def _arguments(args: ast.arguments) -> set[str]:
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {a.arg for a in every if a is not None}


def _stored(body: Iterable[ast.AST]) -> set[str]:
    names = (n for part in body for n in ast.walk(part) if isinstance(n, ast.Name))
    return {n.id for n in names if isinstance(n.ctx, ast.Store)}


def loads(code: Iterable[tuple[str, bool]]) -> set[str]:
    """Names that the code reads before it certainly writes them.

    Parameters
    ----------
    code
        Sources in the order of execution, each with whether it is certainly run: what an optional source
        writes does not count as written.
    """
    visitor = _Loads()
    for source, certain in code:
        before = set(visitor.written)
        visitor.visit(ast.parse(source))
        if not certain:
            visitor.written = before
    return visitor.found


def _outer(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes outside the bodies of functions, classes and comprehensions."""
    for node in nodes:
        yield node
        own = Functions | ast.ClassDef | ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
        if not isinstance(node, own):
            yield from _outer(ast.iter_child_nodes(node))


def bindings(source: str) -> dict[str, str]:
    """Names that a source makes: name -> code of its import or definition, or ``""`` for a value.

    An import under a condition or in a loop counts, too: it is repeated without the condition.
    """
    found: dict[str, str] = {}
    for node in _outer(ast.parse(source).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                text = ast.unparse(_only(node, alias))
                found[alias.asname or alias.name.split(".")[0]] = text
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = _with_decorators(source, node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = ""
    return found


def _only(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


def _with_decorators(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    lines = source.splitlines()[first - 1 : node.end_lineno]
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)
