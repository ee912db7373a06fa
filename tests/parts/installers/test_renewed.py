# SPDX-License-Identifier: Apache-2.0
"""An entry of a host that starts an agentbus which is gone: doctor names it, and --fix renews it."""

import json
import shlex
import sys

import pytest
import test_any_host
from doctors import printed
from local_server import script, settings_at
from mcp_agentbus.installers import any_host, cursor
from mcp_agentbus.installers._parts import permanence
from mcp_agentbus.installers.registry import installer
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.doctor import hosts
from mcp_agentbus.doctor import run as doctor

THEIRS = {"github": {"type": "stdio", "command": "gh-mcp"}}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose agentbus lasts, wherever these tests are run."""
    monkeypatch.setattr(permanence, "emptied", lambda: "")
    (tmp_path / "me").mkdir()
    return Machine(settings_at(tmp_path / "bus", HOME=str(tmp_path / "me"), PATH=str(tmp_path)))


def patcher(tmp_path):
    """Write what changes a file by what comes in, as `openclaw config patch` does."""
    program = tmp_path / "patch.py"
    program.write_text(
        "import json, sys\n"
        "def merged(old, new):\n"
        "    both = {**old, **{k: merged(old.get(k, {}), v) if isinstance(v, dict) else v"
        " for k, v in new.items()}}\n"
        "    return {k: v for k, v in both.items() if v is not None}\n"
        "whole = merged(json.load(open(sys.argv[1])), json.load(sys.stdin))\n"
        "json.dump(whole, open(sys.argv[1], 'w'))\n"
    )
    return program


def connected(name, machine, tmp_path):
    """Have a host that is connected by an agentbus, beside what its user has; return its files."""
    if name == "cursor":
        file = machine.home / ".cursor" / "mcp.json"
        file.parent.mkdir()
        file.write_text(json.dumps({"mcpServers": THEIRS}))
        files = [file, file.with_name("hooks.json")]
    elif name == "openclaw":
        state = machine.home / ".openclaw"
        state.mkdir()
        files = [state / "openclaw.json"]
        files[0].write_text("{}")
        script(
            tmp_path / "openclaw",
            'if [ "$1" = --version ]; then echo "OpenClaw 2026.9.6"; exit; fi',
            f'[ "$1" = config ] && exec {shlex.quote(sys.executable)} {patcher(tmp_path)} {files[0]}',
            "exit 1",
        )
    else:
        recorder = test_any_host.RECORDER.replace("$SAYS", test_any_host.VERSIONS[name])
        (tmp_path / name).write_text(recorder)
        (tmp_path / name).chmod(0o700)
        files = [tmp_path / "has"]
    for step in installer(name).install(machine):
        step.do()
    return files


def moved(files, machine, there):
    """Have what a host starts be somewhere else than it was."""
    for file in files:
        file.write_text(file.read_text().replace(machine.agentbus[0], str(there)))


def looks_at(name):
    """Return what has a doctor look at this host alone."""

    async def examine(settings, _):
        return [hosts.host(settings, name)]

    return examine


@pytest.mark.parametrize("name", ["cursor", "openclaw", "codex", "copilot", "gemini"])
async def test_an_entry_whose_program_is_gone_is_renewed_by_a_fix(
    machine, tmp_path, monkeypatch, name
):
    files = connected(name, machine, tmp_path)
    before = [file.read_text() for file in files]
    moved(files, machine, tmp_path / "old" / "agentbus")
    stale = [file.read_text() for file in files]
    monkeypatch.setattr(doctor, "examine", looks_at(name))

    check = hosts.host(machine.settings, name)
    _, planned = await printed(machine.settings, fix=True, dry_run=True)
    untouched = [file.read_text() for file in files]
    _, done = await printed(machine.settings, fix=True)
    again = hosts.host(machine.settings, name)

    assert (check.state, f"starts {tmp_path}/old/agentbus, which is gone" in check.said) == (
        "wrong", True,
    )  # fmt: skip
    assert f"have {name} start" in json.loads(planned)["steps"][0]["step"]
    assert (untouched, stale != before) == (stale, True)
    assert "done" in {step["state"] for step in json.loads(done)["steps"]}
    assert [file.read_text() for file in files] == before
    assert again.mend is None


@pytest.mark.parametrize("name", ["cursor", "codex", "gemini"])
def test_one_that_starts_another_agentbus_which_is_there_stays_as_its_user_has_it(
    machine, tmp_path, name
):
    files = connected(name, machine, tmp_path)
    another = script(tmp_path / "agentbus", "exit 0")
    moved(files, machine, another)

    assert installer(name).gone(machine) == ""
    assert hosts.host(machine.settings, name).mend is None


def test_hooks_alone_tell_as_well(machine, tmp_path):
    _, hooks = connected("cursor", machine, tmp_path)
    moved([hooks], machine, tmp_path / "old" / "agentbus")

    assert cursor.gone(machine) == f"{tmp_path}/old/agentbus"


def test_by_an_agentbus_that_may_be_gone_tomorrow_nothing_is_renewed(
    machine, tmp_path, monkeypatch
):
    files = connected("codex", machine, tmp_path)
    moved(files, machine, tmp_path / "old" / "agentbus")
    monkeypatch.setattr(permanence, "emptied", lambda: "/home/me/.cache/uv/x")

    check = hosts.host(machine.settings, "codex")

    assert (check.state, check.mend) == ("wrong", None)
    assert "Install it to stay" in check.fix
    assert any_host.CODEX.gone(machine)
