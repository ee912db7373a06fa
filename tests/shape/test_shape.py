# SPDX-License-Identifier: Apache-2.0
"""The shape of the code: who may import whom, how long things may be, what is public."""

from __future__ import annotations

import ast
import graphlib
import pydoc
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
from code_seen import imports, seen, statements

import mcp_agentbus
from mcp_agentbus import errors
from mcp_agentbus.cli import parser
from mcp_agentbus.core import ids
from mcp_agentbus.store import task

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mcp_agentbus"
FILES = sorted(
    path
    for folder in ("mcp_agentbus", "installers", "hooks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)

# A room, and the rooms that it may import; `errors` and `version` are everybody's. Behind the bar
# stand those that it may import inside a function only, at the moment of need.
ROOMS = {
    "core": "",
    "config": "core",
    "bus": "core config",
    "store": "core config bus",
    "shared": "core config bus store",
    "gate": "core config bus store shared",
    "handoff": "core config bus store",
    "wakes": "core config bus store",
    "archive": "core config bus store handoff",
    "human": "core config bus store wakes archive",
    "tools": "core config bus store handoff archive",
    "relay": "core | config tools wakes",
    "installers": "core config relay",
    "work": "core config bus store handoff relay installers",
    "patterns": "core config bus store handoff tools",
    "demo": "core config bus store handoff tools",
    "listener": "core config bus store handoff wakes archive human tools relay",
    "overview": "core config bus store handoff wakes archive human tools relay listener",
    "doctor": "core config bus store handoff wakes archive human tools relay installers listener",
    "cli": (
        "core config bus store shared gate handoff wakes archive human tools relay installers work "
        "patterns demo listener overview doctor"
    ),
}
# What others need not know of a room.
PRIVATE = {
    "bus.connection", "bus.nats_client", "store.codec", "wakes.hosts.claude_code", "relay.conversation",
    "listener.desk", "listener.endpoint", "listener.members", "listener.memory",
    "listener.relayed", "listener.requests", "listener.runner", "listener.state",
    "doctor.check", "doctor.member", "doctor.report", "demo.survey",
    "work.brief", "work.heartbeats", "work.intake", "work.job", "work.output",
}  # fmt: skip
# Who looks at a private part all the same, and why.
LOOKED_AT = {
    "doctor.server": {"bus.connection"},  # it tries to connect, and says what came back
    "doctor.shared.account": {"bus.connection"},  # as that, of a gate
}
# Modules whose names end as a gerund does, and are nouns or adjectives of the field.
NOUNS = {"framing", "outgoing", "parking", "spelling"}
# The rooms that may know a library which the others need not know.
ONLY = {
    "nats": {"bus"},
    "mcp": {"tools", "demo"},
    "mcp_types": {"tools", "demo"},
    "pydantic": {"store", "tools"},
    "rich": {"demo", "doctor"},
    "sqlite3": {"wakes", "archive", "core"},  # of these, `core.locks` waits for who opens a file
    "tomlkit": {"config"},
    "argcomplete": {"cli"},
    "cryptography": {"bus", "shared"},
}
# Who needs to know which Python this is, and starts no agentbus by it.
KNOW_PYTHON = {
    "installers/steps.py": "the command `agentbus` lies beside it",
    "installers/claude_code.py": "it is noted for the scripts of the plugin",
    "installers/systemd.py": "it is written into the unit",
    "installers/launchd.py": "it is written into the plist",
    "installers/worker.py": "it is written into either",
    "mcp_agentbus/doctor/hosts.py": "it measures what a hook takes",
}
# Who reads what is never a pipe in the place of a file, or is to be waited for.
READ_THEMSELVES = {
    "mcp_agentbus/bus/reach.py": "the kernel's files of a network",
    "mcp_agentbus/core/feather/ancestors.py": "the kernel's files of a process",
    "mcp_agentbus/core/processes.py": "the kernel's files of a process",
    "mcp_agentbus/relay/carried/body.py": "a body that a program still writes",
}
FILES_MAX, DEPTH_MAX, LINES_MAX = 12, 6, 400
# One idea that is whole at more lines than that, and why it is not cut.
LONGER = {
    "tests/hostile/test_shown.py": (410, "each field of a peer, and each place, in one table"),
    "tests/parts/wakes/test_policy.py": (450, "each reason not to wake, beside the others"),
}


def _folder(room: str) -> Path:
    return ROOT / room if room == "installers" else PACKAGE / room


def _modules(room: str) -> dict[str, Path]:
    """Return the files of a room by their dotted names within the package."""
    folder = _folder(room)
    return {
        ".".join((room, *path.relative_to(folder).with_suffix("").parts)): path
        for path in folder.rglob("*.py")
    }


MODULES = {name: path for room in ROOMS for name, path in _modules(room).items()}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imported(path: Path) -> frozenset[str]:
    return seen(path).imported


def _ours(imported: Iterable[str]) -> set[str]:
    """Return those of what is imported that are modules of this package, by their names within it."""
    found = {name.removeprefix("mcp_agentbus.") for name in imported}
    return {name for name in found if name in MODULES}


def _at_import(path: Path) -> ast.Module:
    """Return what runs when a file is imported: neither functions nor what is for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            node.body = [ast.Pass()]
    return tree


def test_every_folder_is_a_room_and_the_wheel_has_them_all():
    folders = {path.parent for path in MODULES.values()} | {_folder(room) for room in ROOMS}
    carried = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]

    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} == set(
        ROOMS
    ) - {"installers"}
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py", "__main__.py", "errors.py", "version.py",
    }  # fmt: skip
    names = {
        ".".join(("mcp_agentbus", *folder.relative_to(_folder("core").parent).parts))
        if folder.is_relative_to(PACKAGE)
        else ".".join(("mcp_agentbus", *folder.relative_to(ROOT).parts))
        for folder in folders
    }
    # What of the plugin has a folder with a name that Python could import; setuptools asks for it.
    plugin = {f"mcp_agentbus.plugin.{name}" for name in ("bin", "hooks", "monitors", "skills")}
    assert set(carried["packages"]) == names | plugin | {"mcp_agentbus", "mcp_agentbus.plugin"}
    inside = [each for each in carried["package-data"]["mcp_agentbus.plugin"] if "/" in each]
    assert [each for each in inside if each.partition("/")[0].isidentifier()] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_line_names(room):
    above, _, late = ROOMS[room].partition("|")
    at_once, ever = {room, *above.split()}, {room, *above.split(), *late.split()}
    too_early = {
        (name, other)
        for name, path in _modules(room).items()
        for other in _ours(imports(ast.walk(_at_import(path))))
        if other.partition(".")[0] not in at_once
    }
    strange = {
        (name, other)
        for name, path in _modules(room).items()
        for other in _ours(_imported(path))
        if other.partition(".")[0] not in ever
    }

    assert (too_early, strange) == (set(), set())


def test_what_is_private_to_a_room_is_imported_there_alone():
    looked_at = {
        (name, other)
        for name, path in MODULES.items()
        for other in _ours(_imported(path)) & PRIVATE
        if other.partition(".")[0] != name.partition(".")[0]
    }

    assert looked_at == {(name, other) for name, others in LOOKED_AT.items() for other in others}


def test_what_is_private_exists():
    assert set(MODULES) >= PRIVATE


def test_no_two_files_need_each_other():
    needs = {name: _ours(_imported(path)) - {name} for name, path in MODULES.items()}

    assert list(graphlib.TopologicalSorter(needs).static_order())  # else CycleError names them


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_not_deep(room):
    """From whoever needs all the others down to one who needs none, at most so many files."""
    files = _modules(room)
    needs = {name: (_ours(_imported(path)) & set(files)) - {name} for name, path in files.items()}
    depth: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(needs).static_order():
        depth[name] = 1 + max((depth[other] for other in needs[name]), default=0)

    assert max(depth.values()) <= DEPTH_MAX


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_docstring_for_a_door_and_few_files(room):
    for folder in {path.parent for path in _modules(room).values()}:
        door = ast.parse((folder / "__init__.py").read_text())

        assert len(door.body) == 1
        assert ast.get_docstring(door)
        assert len(list(folder.glob("*.py"))) - 1 <= FILES_MAX


def test_a_module_or_room_is_named_by_what_it_has_and_not_by_what_is_done_there():
    paths = [path.relative_to(ROOT).with_suffix("") for path in FILES]
    names = {name for path in paths if "tests" not in path.parts for name in path.parts}

    assert {name for name in names if re.search("ing(_|$)", name)} == NOUNS


@pytest.mark.parametrize("room", ROOMS)
def test_a_library_is_known_in_its_rooms_only(room):
    roots = {name.split(".")[0] for path in _modules(room).values() for name in _imported(path)}

    assert {library for library in roots & set(ONLY) if room not in ONLY[library]} == set()


def test_no_file_is_too_long_or_silent_of_what_it_is_for_and_no_function_over_60_lines():
    long_files, long_functions, silent = [], [], []
    for path in FILES:
        text = path.read_text()
        allowed, _ = LONGER.get(_name(path), (LINES_MAX, ""))
        if text.count("\n") > allowed:
            long_files.append(_name(path))
        tree = ast.parse(text)
        silent += [] if ast.get_docstring(tree) else [_name(path)]
        long_functions += [
            f"{_name(path)}:{node.name}"
            for node in statements(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno - node.lineno >= 60
        ]

    assert (long_files, long_functions, silent) == ([], [], [])


def test_every_file_names_its_licence():
    begins = "# SPDX-License-Identifier: Apache-2.0\n"

    assert [_name(path) for path in FILES if not path.read_text().startswith(begins)] == []


def test_work_beside_other_work_is_begun_in_one_place():
    """Elsewhere it could end unseen; a group of tasks sees to its own."""
    calls = [
        f"{_name(path)}:{line}"
        for path in MODULES.values()
        if path != PACKAGE / "core" / "aio.py"
        for line, of, name in seen(path).attributes
        if name in {"create_task", "ensure_future"} and of != "group"
    ]

    assert calls == []


def test_agentbus_starts_itself_by_one_function():
    """Started in another way, it may run what is named alike in the folder of a project."""
    files = (*MODULES.values(), ROOT / "bin/launch.py")
    runs_a_module = {_name(path) for path in files if seen(path).runs_a_module}
    knows_python = {
        _name(path)
        for path in files
        for _, of, name in seen(path).attributes
        if (of, name) == ("sys", "executable")
    }

    assert runs_a_module == {"mcp_agentbus/core/programs.py", "bin/launch.py"}
    assert knows_python == {"mcp_agentbus/core/programs.py", *KNOW_PYTHON}


def test_files_are_read_by_one_function():
    """Read in another way, a pipe or a device in the place of one is waited for without an end."""
    read_themselves = {_name(path) for path in MODULES.values() if seen(path).reads_files}

    assert read_themselves == set(READ_THEMSELVES)


def test_no_test_sleeps():
    calls = [
        f"{_name(path)}:{node.lineno}"
        for path in FILES
        if path.name.startswith("test_") and "sleep" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep"
    ]

    assert calls == []


def test_the_public_names_are_those_that_are_documented():
    page = (ROOT / "docs/python.md").read_text().partition("## The names")[2]
    rows = re.findall(r"^- (`\w+`(?:, `\w+`)*):", page, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AgentbusError)
    }

    # No function of the API raises those that are left out: they are of commands.
    public = {*named, *kinds, "__version__"} - {"NoListener", "SilentListener"}
    assert sorted(mcp_agentbus.__all__) == sorted(public)
    assert len(set(named)) == len(named)
    assert all(getattr(mcp_agentbus, name) for name in mcp_agentbus.__all__)


def test_help_shows_what_is_public():
    shown = pydoc.plain(pydoc.render_doc(mcp_agentbus))

    assert {name for name in mcp_agentbus.__all__ if name not in shown} <= {"__version__"}
    assert "Store a task for one or more agents" in shown


def test_the_command_line_offers_the_words_of_the_bus():
    """It spells them itself: where they stand takes long to import."""
    typed = parser.parser()._subparsers._group_actions[0].choices

    def offered(command, name):
        return next(one.choices for one in typed[command]._actions if one.dest == name)

    assert offered("send", "priority") == offered("watch", "priority") == ids.LANES
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
