# SPDX-License-Identifier: Apache-2.0
"""What is started often is light: which files load how much, by the folder where they stand.

A host starts a relay with each session and a hook with each turn, and a model types commands. So
what a command loads that a listener does is a socket and else nothing that Python has not loaded by
itself. `relay` and what it needs load a short list of the standard library (feather), and so does
`cli` until a command is known; `core`, `config` and the monitor load no more than that library,
without asyncio (light). Whatever weighs more is imported inside the function that needs it.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mcp_agentbus"

# Each of them costs a relay a megabyte, or a tenth of its start.
HEAVY = {"asyncio", "dataclasses", "pathlib", "subprocess", "urllib"}
# What a relay needs besides the files of its room.
BESIDE = {
    "core.hosts",
    "core.lines",
    "core.places",
    "core.processes",
    "core.programs",
    "errors",
    "version",
    "__main__",
}
# What is loaded for every command line, and for the commands that a listener carries out.
TYPED = {"cli.main", "cli.parser", "cli.output", "cli.completion", "cli.tasks"}
TYPED |= {"cli.carried.resumed"}
# What is there for asyncio, and what changes a file of a person's, as few commands do: by tomlkit.
NOT_LIGHT = {"core.aio", "core.children.group", "core.children.output"}
NOT_LIGHT |= {"config.changes.editor", "config.changes.toml_text"}


def _files(room: str) -> set[str]:
    """Return all modules of a room, and of the rooms within it."""
    files = (PACKAGE / room.replace(".", "/")).rglob("*.py")
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in files}


FEATHER = sorted(_files("relay") | BESIDE | TYPED)
# All that is loaded for a command that a listener does.
SOCKET_ALONE = sorted(
    {*_files("relay.carried"), *_files("core.feather"), "relay.door", "relay.late", "core.hosts"}
    | {"core.places", "core.programs", "version", "__main__"}
)
LIGHT = sorted((_files("core") | _files("config") | {"cli.monitor"}) - NOT_LIGHT)


# Whatever evaluates an annotation that is kept as text.
NO_TEXT = """
import typing
class ForwardRef(typing.ForwardRef, _root=True):
    def __init__(self, *_, **__): raise AssertionError("an annotation is compiled")
typing.ForwardRef = ForwardRef
"""


@functools.cache
def loaded_by(module: str, before: str = "", after: str = "") -> frozenset[str]:
    """Return the top-level modules that Python has after importing a file of the package.

    Without `site` it finds no third party, so importing one fails; and it begins with nothing that
    a test looks for. `before` is run first, and `after` with the file as `it`.
    """
    code = f"""
import sys
assert not {HEAVY} & set(sys.modules)
{before}
sys.path.append({str(ROOT)!r})
import mcp_agentbus.{module} as it
{after}
print(*(name.partition(".")[0] for name in sys.modules))
"""
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return frozenset(ended.stdout.split())


@pytest.mark.parametrize("module", FEATHER)
def test_what_is_started_often_loads_little_of_the_standard_library(module):
    assert loaded_by(module) & HEAVY == set()


@pytest.mark.parametrize("module", LIGHT)
def test_words_and_settings_load_the_standard_library_only_and_no_asyncio(module):
    assert loaded_by(module) & {"asyncio"} == set()


@pytest.mark.parametrize("module", SOCKET_ALONE)
def test_a_command_that_a_listener_does_loads_a_socket_and_nothing_else(module):
    assert loaded_by(module) - loaded_by("version", "import os") <= {"_socket"}


def test_what_hosts_say_mostly_is_read_without_loading_more():
    said = 'it.read(["--agent", "coder"], {})'
    assert loaded_by("relay.options", after=said) == loaded_by("relay.options")


def test_a_relay_compiles_no_annotation():
    """The first one takes a millisecond: Python prepares all its syntax trees for it."""
    assert loaded_by("relay.session", NO_TEXT)


def test_what_is_heavy_would_be_seen():
    assert loaded_by("core.aio") & HEAVY >= {"asyncio"}
    with pytest.raises(AssertionError, match="an annotation is compiled"):
        loaded_by("store.subjects", NO_TEXT)
    with pytest.raises(AssertionError, match="No module named 'tomlkit'"):
        loaded_by("config.changes.editor")
