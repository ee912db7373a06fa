# SPDX-License-Identifier: Apache-2.0
"""A shared server as `agentbus server init` makes it, used as its last lines say."""

import asyncio
import shlex
import signal
import socket
import ssl
from contextlib import AsyncExitStack

import pytest
from backups import held
from doctors import report, running
from local_server import server_folder, settings_at, until
from made_server import ADDRESS, UNITS, free_port
from test_shell import Shell

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import new_seed
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared import init
from mcp_agentbus.shared.accounts import admin
from mcp_agentbus.shared.init import Given
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.store import subjects

_DAY_S = 24 * 3600


@pytest.fixture
def port():
    return free_port()


def command_in(unit):
    """Return what systemd would start, by its unit."""
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.partition("=")[2])


def changed(settings, **environ):
    return load_settings({**settings.environ, **environ})


async def said_of(settings):
    """Return why a server is not used."""
    async with Bus(settings) as bus:
        with pytest.raises(AgentbusError) as refused:
            await bus.api("INFO")
    return refused.value.message


async def test_it_runs_as_its_last_lines_say_and_its_owner_backs_it_up(tmp_path, port):
    shell, files = Shell(tmp_path / "here", tmp_path), Files(tmp_path / "here/data/shared")
    make = ("server", "init", "--shared")
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text("#!/bin/sh\n")
    systemctl.chmod(0o700)
    shell.env["PATH"] = f"{systemctl.parent}:{shell.env['PATH']}"
    lines = shell(*make, "--listen", f"{ADDRESS}:{port}").splitlines()

    with running(command_in(files.unit)):
        owner = admin.settings(files.folder)
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(Bus.connect(owner))
            planner, coder = [
                await stack.enter_async_context(Session(bus, Agent(name)))
                for name in ("planner", "coder")
            ]
            await read_inbox(coder)
            await send_task(planner, "coder", "Count", "all")
        _, checks = await report(owner)
        backup = str(tmp_path / "backup")
        await asyncio.to_thread(shell, "server", "backup", backup)
        await asyncio.to_thread(shell, "server", "restore", backup, "--replace", "--yes")
        again = await held(owner)

    assert command_in(files.gate_unit)[-4:] == ["server", "gate", "--dir", str(files.folder)]
    assert len(lines) - lines.index("") - 1 <= 10
    assert any(str(files.unit) in line and str(files.gate_unit) in line for line in lines)
    assert "agentbus server invite NAME | agentbus join" in lines[-1]
    assert {check["state"] for check in checks.values()} <= {"ok", "unknown", "warning"}
    assert checks["server"]["state"] == checks["certificate"]["state"] == "ok"
    assert again[subjects.TASKS] == 1


def test_a_backup_is_of_the_bus_that_is_meant(tmp_path):
    shell = Shell(tmp_path / "here", tmp_path)
    shell("server", "init", "--shared", "--name", "localhost")
    away = shell("server", "backup", str(tmp_path / "1"), code=3)
    with server_folder(tmp_path / "here"):
        shell("server", "start")
        either = shell("server", "backup", str(tmp_path / "2"), code=2)
        shell("server", "backup", str(tmp_path / "3"), "--dir", str(tmp_path / "here" / "data"))
    nowhere = shell("server", "backup", str(tmp_path / "4"), "--dir", str(tmp_path), code=2)
    there = Shell(tmp_path / "there", tmp_path)
    there.env |= {"AGENTBUS_URL": "tls://bus.test", "AGENTBUS_ACCOUNT": "laptop"}
    there.env |= {"AGENTBUS_NKEY_FILE": str(tmp_path / "here/data/shared/admin.nk")}
    no_owner = there("server", "backup", str(tmp_path / "5"), code=2)

    assert "4222" in away  # the shared one does not run; another was not begun in its place
    assert "two buses here" in either
    assert (tmp_path / "3").exists()
    assert "no shared server" in nowhere
    assert "on the server's machine" in no_owner


def test_three_servers_are_typed_once_and_not_again(tmp_path):
    shell, folder = Shell(tmp_path / "here", tmp_path), tmp_path / "bus"
    make = ("server", "init", "--shared", "--dir", str(folder))
    three = ("--cluster", "a.test,b.test,c.test:5222")

    shell(*make, *three, "--dry-run")
    assert not folder.exists()
    made = shell.json(*make, *three)
    refused = shell(*make, *three, "--name", "d.test", code=2)
    again = shell(*make)

    [first, *_] = made["servers"]
    assert first["urls"] == ["tls://a.test:4222", "tls://b.test:4222", "tls://c.test:5222"]
    assert command_in(Files(folder / "a.test").unit)[1:] == ["-c", first["config"]]
    assert "Leave the others out" in refused
    assert "nothing has changed" in again


async def test_who_is_not_known_is_refused_and_a_renewed_certificate_needs_no_restart(
    tmp_path, port
):
    files = Files(tmp_path / "bus")
    plan = init.plan(files.folder, Given(listen=f"{ADDRESS}:{port}"), UNITS)
    plan.carry_out()
    binary = embedded.binary(settings_at(tmp_path))
    with running([binary, "-c", files.conf]) as process:
        there = admin.settings(files.folder)
        async with Bus.connect(there):
            unknown = await said_of(changed(there, AGENTBUS_CA_FILE=""))
            key = tmp_path / "stranger.nk"
            key.write_text(new_seed())
            key.chmod(0o600)
            not_let_in = await said_of(changed(there, AGENTBUS_NKEY_FILE=str(key)))
            by_nothing = await said_of(changed(there, AGENTBUS_NKEY_FILE=""))
            init.plan(files.folder, Given(names=("bus.test",)), UNITS).carry_out()
            process.send_signal(signal.SIGHUP)
            certificate = ssl.PEM_cert_to_DER_cert(files.cert.read_text())
            until(lambda: shown(port) == certificate, "the server shows the new certificate")

    assert "signed by nobody whom this machine trusts" in unknown
    assert "does not take the key" in not_let_in
    assert "without a login" in by_nothing


def shown(port):
    """Return the certificate that a server shows."""
    with socket.create_connection((ADDRESS, port)) as plain:
        plain.recv(4096)  # it greets in plain text
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True)


async def test_whoever_looks_is_told_that_the_servers_own_certificate_ends_soon(
    tmp_path, port, elapse
):
    files, given = Files(tmp_path / "bus"), Given(listen=f"{ADDRESS}:{port}")
    elapse(-800 * _DAY_S)
    init.plan(files.folder, given, UNITS).carry_out()
    elapse(800 * _DAY_S)
    with running([embedded.binary(settings_at(tmp_path)), "-c", files.conf]):
        async with Bus.connect(admin.settings(files.folder)):
            _, checks = await report(admin.settings(files.folder))

    assert checks["certificate"]["state"] == "warning"
    assert "agentbus server init --shared" in checks["certificate"]["fix"]


async def test_a_certificate_that_nobody_renewed_is_named_as_what_it_is(tmp_path, port, elapse):
    files, given = Files(tmp_path / "bus"), Given(listen=f"{ADDRESS}:{port}")
    elapse(-830 * _DAY_S)
    plan = init.plan(files.folder, given, UNITS)
    plan.carry_out()
    elapse(830 * _DAY_S)
    with running([embedded.binary(settings_at(tmp_path)), "-c", files.conf]):
        expired = await said_of(admin.settings(files.folder))
    [renewed] = init.plan(files.folder, given, UNITS).changes

    assert "has expired" in expired
    assert renewed.said.startswith("server.crt: it expires on")
