# SPDX-License-Identifier: Apache-2.0
"""Which breaks of a file there are: one comparison, call, keyword, number or condition each.

    >>> [each.what for each in mutants("a.py", "if a < b: c()")]
    ['it compares by `<=`', 'it is not done']

What is there for people or type checkers alone is left as it is: words, annotations, limits.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_SWAPPED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One break: what stands between two places of a file becomes something else."""

    #: From the root of the tree.
    file: str
    line: int
    end_line: int
    column: int
    end_column: int
    becomes: str
    #: For people.
    what: str

    def of(self, source: str) -> str:
        """Return the broken source; the columns count bytes, as `ast` does."""
        lines = source.encode().splitlines(keepends=True)
        before = b"".join(lines[: self.line - 1]) + lines[self.line - 1][: self.column]
        after = lines[self.end_line - 1][self.end_column :] + b"".join(lines[self.end_line :])
        return (before + self.becomes.encode() + after).decode()

    def key(self, source: str) -> str:
        """Return by what `LEFT` knows it: its file, the line as it stands, and what becomes of it."""
        return f"{self.file}: {source.splitlines()[self.line - 1].strip()}: {self.what}"


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Yield every break of a file that this knows."""
    for broken in candidates(file, source):
        try:
            ast.parse(broken.of(source))
        except SyntaxError:
            continue
        yield broken


def candidates(file: str, source: str) -> Iterator[Mutant]:
    """Yield every break of a file, and the few that Python cannot read, in a tenth of the time."""
    tree = ast.parse(source)
    skipped = _skipped(tree)
    for node in ast.walk(tree):
        if node in skipped or not hasattr(node, "lineno"):
            continue
        for becomes, what in _breaks(node):
            yield Mutant(
                file, node.lineno, node.end_lineno, node.col_offset, node.end_col_offset,
                becomes, what,
            )  # fmt: skip


def _skipped(tree: ast.Module) -> set[ast.AST]:
    """Return what does nothing, or is there for a type checker or a reader."""
    skipped: set[ast.AST] = set()
    # A limit is a choice: another one breaks no promise.
    skipped.update(*(ast.walk(node) for node in tree.body if isinstance(node, ast.AnnAssign)))
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                parts = [node.returns, *node.decorator_list]
            case ast.ClassDef():
                parts = [*node.decorator_list]
            case ast.AnnAssign() | ast.arg():
                parts = [node.annotation]
            case ast.Expr(ast.Constant() | ast.Yield()):
                parts = [node]
            case ast.Raise() | ast.Assert() | ast.JoinedStr():  # words for people
                parts = [node]
            case ast.keyword("strict"):  # as an assertion, of what is zipped
                parts = [node]
            case ast.If(ast.Name("TYPE_CHECKING")):
                parts = [node]
        for part in filter(None, parts):
            skipped |= set(ast.walk(part))
    return skipped


def _breaks(node: ast.AST) -> Iterator[tuple[str, str]]:  # noqa: C901  # a table of kinds
    """Yield what a node may become, and that in words."""
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in _SWAPPED:
            other = _SWAPPED[type(op)]
            yield f"({ast.unparse(left)} {other} {ast.unparse(right)})", f"it compares by `{other}`"
        case ast.BoolOp(op, values):
            other = "or" if isinstance(op, ast.And) else "and"
            joined = f" {other} ".join(f"({ast.unparse(value)})" for value in values)
            yield f"({joined})", f"it joins by `{other}`"
        case ast.UnaryOp(ast.Not(), operand):
            yield f"({ast.unparse(operand)})", "it has no `not`"
        case ast.Constant(bool() as value):
            yield str(not value), f"it is {not value}"
        case ast.Constant(int() | float() as value):
            yield str(value + 1), f"it is {value + 1}"
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            other = "-" if isinstance(op, ast.Add) else "+"
            yield f"({ast.unparse(left)} {other} {ast.unparse(right)})", f"it is with `{other}`"
        case ast.Expr(ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete():
            yield "pass", "it is not done"
        case ast.Call(keywords=[_, *_]):
            for keyword in node.keywords:
                kept = [each for each in node.keywords if each is not keyword]
                if keyword.arg and keyword.arg != "strict":
                    call = ast.unparse(ast.Call(node.func, node.args, kept))
                    yield call, f"it is not told `{keyword.arg}`"
        case ast.IfExp(orelse=orelse):
            yield f"({ast.unparse(orelse)})", "it is always the other"
