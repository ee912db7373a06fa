# SPDX-License-Identifier: Apache-2.0
"""What stands in the code of a file, as far as a test of the shape of all files asks for it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# What is looked for.
_ATTRIBUTES = {"create_task", "ensure_future", "executable", "load", "loads", "JSONDecoder"}
_READS = {"open", "read_text", "read_bytes"}


@dataclass(frozen=True)
class Seen:
    """What the tests ask of the code of a file, each one of all files."""

    #: What it imports, at whatever moment.
    imported: frozenset[str]
    #: The attributes of `_ATTRIBUTES` that it has: in which line, of what, and their names.
    attributes: tuple[tuple[int, str, str], ...]
    reads_files: bool
    runs_a_module: bool


@functools.cache
def seen(path: Path) -> Seen:
    """Look through a file once for all tests: to parse all of them takes a second."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return Seen(
        imported=frozenset(imports(nodes)),
        attributes=tuple(
            (node.lineno, ast.unparse(node.value), node.attr)
            for node in nodes
            if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES
        ),
        reads_files=any(
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in _READS
            and re.search(r"^open$|\.read_(text|bytes)$", ast.unparse(node.func))
            for node in nodes
        ),
        runs_a_module=any(
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (node.value == "-m" or " -m mcp_agentbus" in node.value)
            for node in nodes
        ),
    )


def imports(nodes: Iterable[ast.AST]) -> set[str]:
    """Return what is imported by these nodes, with all that is taken of a module."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk through what may be a function or have one in it: that is a tenth of all nodes."""
    for part in ("body", "orelse", "handlers", "finalbody", "cases"):
        for each in getattr(node, part, ()):
            yield each
            yield from statements(each)
