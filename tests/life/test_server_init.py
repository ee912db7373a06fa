# SPDX-License-Identifier: Apache-2.0
"""A shared server as `agentbus server init` makes it, used as its last lines say."""

import shlex
import shutil
import signal
import socket
import ssl
import sys

import pytest
from backups import backed_up, held, restored
from doctors import report, running
from local_server import settings_at, until
from test_shell import Shell

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared import init
from mcp_agentbus.shared.init import Given
from mcp_agentbus.shared.server_folder import Files
from mcp_agentbus.store import subjects

# Of this machine, and in no certificate unless it is asked for; macOS has the first of them alone.
_ADDRESS = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
_DAY_S = 24 * 3600


@pytest.fixture
def port():
    """A port that is free, as is that of its monitoring."""
    while True:
        with socket.socket() as bus, socket.socket() as monitoring:
            bus.bind((_ADDRESS, 0))
            number = bus.getsockname()[1]
            beside = number + 4000 if number + 4000 < 1 << 16 else number - 4000
            try:
                monitoring.bind(("127.0.0.1", beside))
            except OSError:
                continue
            return number


def command_in(unit):
    """Return what systemd would start, by its unit."""
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.partition("=")[2])


def machine(files, lines, home):
    """Do on another machine what the last lines say; return its settings."""
    there = home / ".config" / "agentbus"
    there.mkdir(parents=True)
    for file in (files.token, files.ca):
        shutil.copy2(file, there)
    begin, end = lines.index("  [server]"), lines.index("then: agentbus doctor")
    said = "\n".join(line.strip() for line in lines[begin:end])
    (there / "config.toml").write_text(said.replace("~", str(home)))
    (there / "config.toml").chmod(0o600)
    return settings_at("", HOME=str(home))


def machine_with(settings, home, **changed):
    """Return the settings of a machine whose config.toml is as another's, but for some keys."""
    text = settings.config_file.read_text()
    lines = dict(line.split(" = ") for line in text.splitlines()[1:]) | changed
    home.mkdir()
    kept = [f"{key} = {value}" for key, value in lines.items() if value]
    (home / "config.toml").write_text("\n".join(["[server]", *kept]))
    (home / "config.toml").chmod(0o600)
    return settings_at(home, HOME=settings.environ["HOME"])


async def said_of(settings):
    """Return why a server is not used."""
    async with Bus(settings) as bus:
        with pytest.raises(AgentbusError) as refused:
            await bus.api("INFO")
    return refused.value.message


async def test_another_machine_does_as_it_is_told_and_hands_a_task_over(tmp_path, port):
    shell, files = Shell(tmp_path / "here", tmp_path), Files(tmp_path / "bus")
    make = ("server", "init", "--shared", "--dir", str(files.folder))
    lines = shell(*make, "--listen", f"{_ADDRESS}:{port}").splitlines()

    with running(command_in(files.unit)):
        there = machine(files, lines, tmp_path / "there")
        shell.env = {key: there.environ[key] for key in ("HOME", "PATH")}
        shell("inbox", agent="coder")
        shell("send", shell.name("coder"), "Count", "all", agent="planner")
        taken = shell("inbox", agent="coder")
        _, checks = await report(there)
        await backed_up(there, tmp_path / "backup")
        *_, replaced = await restored(there, tmp_path / "backup", replace=True)
        again = await held(there)

    assert len(lines) - lines.index("") - 1 <= 10
    assert "Subject: Count" in taken
    assert {check["state"] for check in checks.values()} <= {"ok", "unknown", "warning"}
    assert checks["server"]["state"] == "ok"
    assert again[subjects.TASKS] == 1
    assert replaced.backup.is_relative_to(there.data_dir)


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
    plan = init.plan(files.folder, Given(listen=f"{_ADDRESS}:{port}"), "[Unit]\n")
    plan.carry_out()
    lines = init.text(plan, dry_run=False).splitlines()
    binary = embedded.binary(settings_at(tmp_path))
    with running([binary, "-c", files.conf]) as process:
        there = machine(files, lines, tmp_path / "there")
        async with Bus.connect(there):
            unknown = await said_of(machine_with(there, tmp_path / "unknown", ca_file=""))
            token = tmp_path / "other-token"
            token.write_text("of-somebody-else")
            token.chmod(0o600)
            stranger = machine_with(there, tmp_path / "stranger", token_file=f'"{token}"')
            not_let_in = await said_of(stranger)
            init.plan(files.folder, Given(names=("bus.test",)), "[Unit]\n").carry_out()
            process.send_signal(signal.SIGHUP)
            certificate = ssl.PEM_cert_to_DER_cert(files.cert.read_text())
            until(lambda: shown(port) == certificate, "the server shows the new certificate")
            renamed = await said_of(there)

    assert "signed by nobody whom this machine trusts" in unknown
    assert "does not take the token in" in not_let_in
    assert "is for another name" in renamed


def shown(port):
    """Return the certificate that a server shows."""
    with socket.create_connection((_ADDRESS, port)) as plain:
        plain.recv(4096)  # it greets in plain text
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True)


async def test_a_certificate_that_nobody_renewed_is_named_as_what_it_is(tmp_path, port, elapse):
    files, given = Files(tmp_path / "bus"), Given(listen=f"{_ADDRESS}:{port}")
    elapse(-830 * _DAY_S)
    plan = init.plan(files.folder, given, "[Unit]\n")
    plan.carry_out()
    elapse(830 * _DAY_S)
    lines = init.text(plan, dry_run=False).splitlines()
    with running([embedded.binary(settings_at(tmp_path)), "-c", files.conf]):
        expired = await said_of(machine(files, lines, tmp_path / "there"))
    [renewed] = init.plan(files.folder, given, "[Unit]\n").changes

    assert "has expired" in expired
    assert renewed.said.startswith("server.crt: it expires on")
