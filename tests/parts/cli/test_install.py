# SPDX-License-Identifier: Apache-2.0
"""`agentbus setup` and `install`: what is said before a host is asked, and what a plan promises."""

import io
import os
import sys
from argparse import Namespace
from dataclasses import replace

import pytest
from local_server import script, settings_at
from mcp_agentbus.installers import launchd, systemd
from mcp_agentbus.installers.steps import Machine, Step, SwitchedOff

from mcp_agentbus.cli import install
from mcp_agentbus.cli.servers import remains
from mcp_agentbus.core import hosts
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay import seat

WRITES = Step("write allowed", str)


class Screen(io.StringIO):
    """A terminal, or none."""

    def __init__(self, *, is_one):
        super().__init__()
        self._is_one = is_one

    def isatty(self):
        return self._is_one


@pytest.fixture
def planned(tmp_path, installer, monkeypatch):
    """Return the plan of a dry run, and what was on standard error, with a terminal or without."""
    installer.install = lambda _, **options: [WRITES] if options.get("allow_tools") else []
    installer.allowed_tools = lambda _: None
    monkeypatch.setattr(install, "WITH_PLUGIN", ("stand-in",))
    monkeypatch.setattr(install, "CONNECTED", ("stand-in",))

    async def plan(command, *, yes=False, terminal=False):
        shown = Screen(is_one=terminal)
        monkeypatch.setattr(sys, "stdin", shown)
        monkeypatch.setattr(sys, "stderr", shown)
        args = Namespace(
            command=command, host=["stand-in"], dry_run=True, json=False, yes=yes,
            no_listener=True, no_plugin=False, allow_tools=None, agent=None,
        )  # fmt: skip
        work = install._Work(args, Machine(settings_at(tmp_path)))
        await (work.setup() if command == "setup" else work.named_hosts())
        plan = work.data()["planned"]
        return [step for step in plan if "server" not in step], shown.getvalue()

    return plan


@pytest.mark.parametrize(
    ("command", "given", "steps"),
    [
        ("install", {}, []),
        ("install", {"terminal": True}, ["ask which tools may run without asking"]),
        ("install", {"yes": True}, ["write allowed"]),
        ("setup", {"terminal": True}, ["ask which tools may run without asking"]),
        ("setup", {}, ["write allowed"]),
    ],
    ids=str,
)
async def test_a_plan_promises_what_the_same_line_does(planned, command, given, steps):
    """Without a terminal `setup` does nothing at all until it is given --yes."""
    plan, _ = await planned(command, **given)

    assert plan == steps


@pytest.mark.parametrize("terminal", [True, False])
async def test_who_looks_at_a_screen_is_told_that_hosts_are_looked_for(planned, terminal):
    _, said = await planned("setup", terminal=terminal)

    assert said == "Looking for hosts...\n" * terminal


async def test_a_host_in_which_its_user_has_disabled_us_is_no_failure(
    tmp_path, installer, monkeypatch, capsys
):
    def verify(_):
        raise SwitchedOff("Its entry is disabled.", hint="To enable it: host enable")

    installer.install, installer.verify = (lambda _, **__: []), verify
    monkeypatch.setattr(install, "CONNECTED", ("stand-in",))
    args = Namespace(
        command="install", host=["stand-in"], dry_run=False, json=False, yes=True,
        no_listener=True, no_plugin=False, allow_tools=None, agent=None,
    )  # fmt: skip
    work = install._Work(args, Machine(settings_at(tmp_path)))

    await work.named_hosts()

    assert work._failed() == []
    assert work.data()["hosts"]["stand-in"]["state"] == "disabled"
    assert "stand-in is there, and not all of it is on" in capsys.readouterr().out


def test_a_host_that_hangs_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr("mcp_agentbus.installers.steps._VERSION_TIMEOUT_S", 0.05)
    script(tmp_path / "claude", "exec /bin/sleep 600")
    machine = Machine(settings_at(tmp_path, PATH=str(tmp_path)))
    title = hosts.named("claude-code").title

    found = machine.found("claude", title)

    why = "`claude --version` did not end in 0.1 s."
    assert found == f"{title}, {tmp_path}/claude (does not run: {why})"
    with pytest.raises(BadSetup, match=why):
        machine.run([str(tmp_path / "claude"), "--help"])


@pytest.mark.parametrize("is_kept", [True, False])
def test_where_a_host_is_taken_out_it_is_said_what_stays_and_what_ends_that(
    tmp_path, monkeypatch, is_kept
):
    settings = settings_at(tmp_path)
    monkeypatch.setattr(remains.starter, "keeps", lambda _: is_kept)
    monkeypatch.setattr(remains.embedded, "find", lambda _: is_kept or None)
    if is_kept:
        settings.data_dir.mkdir(parents=True)
    else:
        settings = replace(settings, config_file=tmp_path / "nowhere/config.toml")

    said = "\n".join(remains.stays(settings))

    ends = ("agentbus listen --uninstall", "agentbus server stop", str(settings.data_dir))
    assert [each in said for each in ends] == [is_kept] * 3
    assert bool(said) is is_kept


def test_a_listener_that_a_session_has_started_stays_as_well_and_is_named(tmp_path):
    settings = replace(settings_at(tmp_path), url="nats://127.0.0.1:1")

    with seat.taken(settings):
        said = "\n".join(remains.stays(settings))

    assert f"a listener (pid {os.getpid()} on host " in said
    assert "runs: agentbus listen --stop" in said


@pytest.mark.parametrize("by_launchd", [True, False])
def test_a_worker_that_is_kept_stays_as_well_and_is_named_to_programs_too(
    tmp_path, monkeypatch, by_launchd
):
    monkeypatch.setattr(remains.starter, "by_launchd", lambda: by_launchd)
    settings = settings_at(tmp_path / "bus", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    name = "agentbus-work-coder.service"
    file = systemd.unit_file(settings.environ, name)
    if by_launchd:
        file = launchd.plist_file(settings.environ, "dev.agentbus.work.coder")
    file.parent.mkdir(parents=True)
    file.touch()
    file.with_name(file.name.replace("coder", "No agent")).touch()

    by = "launchd" if by_launchd else "systemd"
    ends_by = "agentbus work --uninstall --agent coder"
    assert remains.stays(settings)[1] == f"  {by} keeps a worker of coder: {ends_by}"
    args = Namespace(command="uninstall", json=True, dry_run=False, host=[])
    [kept] = install._Work(args, Machine(settings)).data()["stays"]
    assert kept == {"what": f"{by} keeps a worker of coder", "ends_by": ends_by}
