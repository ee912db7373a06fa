# SPDX-License-Identifier: Apache-2.0
"""The shape of the code: who may import whom, how long things may be, what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import mcp_agentbus
from mcp_agentbus.cli import main as cli
from mcp_agentbus.core import ids as names
from mcp_agentbus.relay import command as remote
from mcp_agentbus.store import task
from mcp_agentbus.tools import commands

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mcp_agentbus"
# A folder counts as one module.
MODULES = sorted(
    {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    - {"__init__.py", "__main__.py", "__init__", "__main__"}
    | {"installers"}  # it is mapped into the package when that is installed
)
FILES = sorted(
    path
    for folder in ("mcp_agentbus", "installers", "hooks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)

# The rooms that may know a library which the others need not know.
ONLY = {
    "nats": {"bus"},
    "mcp": {"tools", "demo"},
    "mcp_types": {"tools", "demo"},
    "rich": {"demo", "doctor"},
    "platformdirs": {"core", "config"},
    "sqlite3": {"wakes"},
    "tomlkit": {"config"},
    "argcomplete": {"cli"},
}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def _imports_of(module: str) -> set[str]:
    """Return what a module imports, or all files of a folder that counts as one."""
    folder = (ROOT if module == "installers" else PACKAGE) / module
    paths = [PACKAGE / f"{module}.py", *folder.rglob("*.py")]
    return set().union(*(_imports(path) for path in paths if path.exists()))


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_known_in_its_one_place_only(module):
    roots = {name.split(".")[0] for name in _imports_of(module)}

    assert {library for library in roots & set(ONLY) if module not in ONLY[library]} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_over_400_lines_and_no_function_over_60(path):
    text = path.read_text()
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 60
    ]

    assert text.count("\n") <= 400
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_names_its_licence_and_says_what_it_is_for(path):
    text = path.read_text()

    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert ast.get_docstring(ast.parse(text))


def test_no_test_sleeps():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        if path.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep"
    ]

    assert calls == []


def test_the_public_names_are_these():
    assert sorted(mcp_agentbus.__all__) == [
        "Agent",
        "AgentbusError",
        "Bus",
        "Session",
        "__version__",
        "publish_result",
        "read_inbox",
        "send_task",
        "task_life",
        "watch_inbox",
    ]
    assert all(getattr(mcp_agentbus, name) for name in mcp_agentbus.__all__)


def test_the_listener_is_asked_for_the_commands_that_it_can_carry_out():
    assert set(commands._COMMANDS) == remote.COMMANDS


def test_the_command_line_offers_the_words_of_the_bus():
    """It spells them itself: where they stand takes long to import."""
    typed = cli.parser()._subparsers._group_actions[0].choices

    def offered(command, name):
        return next(one.choices for one in typed[command]._actions if one.dest == name)

    assert offered("send", "priority") == offered("watch", "priority") == names.LANES
    assert offered("send", "notify") == get_args(task.Notify)
    assert offered("result", "status") == task.STATUSES


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib, io\n"
        "from mcp_agentbus.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['send', '--help'])\n"
        "print(sorted({'mcp', 'nats', 'pydantic', 'asyncio', 'rich'} & set(sys.modules)))"
    )

    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert out.stdout.strip() == "[]"
