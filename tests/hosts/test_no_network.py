# SPDX-License-Identifier: Apache-2.0
"""Connecting the real hosts and taking agentbus out again contacts no host and asks for no name."""

import shlex
import sys
from types import SimpleNamespace

import enclosed
import node_tools
import pytest
from local_server import script, server_folder

AGENTBUS = [sys.executable, "-m", "mcp_agentbus"]
HOSTS = ("claude-code", "openclaw")


@pytest.fixture
def user(tmp_path):
    """Somebody with both hosts, who has used neither, and with no service manager that works."""
    real, bin_ = node_tools.openclaw(), tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "claude").symlink_to(node_tools.claude_code())
    openclaw = [str(real.node), str(real.modules / "openclaw/openclaw.mjs")]
    script(bin_ / "openclaw", f'exec {shlex.join(openclaw)} "$@"')
    script(bin_ / "python3", f'exec {shlex.quote(sys.executable)} "$@"')
    asked = tmp_path / "asked"
    asked.touch()
    for manager in ("systemctl", "launchctl", "loginctl"):
        script(bin_ / manager, f"echo {manager} >> {shlex.quote(str(asked))}", "exit 1")
    home = tmp_path / "home"
    home.mkdir()
    environ = {
        "HOME": str(home),
        "AGENTBUS_HOME": str(tmp_path / "bus"),
        "PATH": f"{bin_}:{real.node.parent}:/usr/bin:/bin",
        "TERM": "xterm",
    }
    with server_folder(tmp_path / "bus"):
        yield SimpleNamespace(environ=environ, managers_asked=asked.read_text)


def run(user, *commands):
    """Run commands one after the other, as typed, in one network."""
    return enclosed.run(["/bin/sh", "-ec", "\n".join(map(shlex.join, commands))], env=user.environ)


def test_whoever_is_asked_for_a_name_or_sent_anything_is_seen(tmp_path):
    """Without this the others would prove nothing."""
    sends = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))"
    asks = "import socket, contextlib\nwith contextlib.suppress(OSError):\n"
    asks += " socket.getaddrinfo('agentbus.example.org', 443)"
    environ = {"PATH": "/usr/bin:/bin", "RES_OPTIONS": "timeout:1 attempts:1"}

    [sent, asked, still] = (
        enclosed.run([sys.executable, "-c", code], env=environ) for code in (sends, asks, "")
    )

    assert (sent.code, sent.packets, sent.left) == (0, 1, ["192.0.2.1"])
    assert asked.packets > 0
    assert asked.left == [f"{enclosed.NAMES} asked for agentbus.example.org"]
    assert (still.code, still.packets, still.left) == (0, 0, [])


@pytest.mark.node
def test_setting_up_both_hosts_and_undoing_it_contacts_nobody(user):
    hosts = [word for host in HOSTS for word in ("--host", host)]
    ran = run(
        user,
        [*AGENTBUS, "setup", "--yes", "--no-listener", *hosts],
        [*AGENTBUS, "uninstall", *HOSTS],
        [*AGENTBUS, "server", "stop"],
    )

    assert ran.code == 0, ran.said
    for host in HOSTS:
        assert f"{host} connected, and asked" in ran.said
        assert f"{host} removed" in ran.said
    assert (ran.left, ran.packets) == ([], 0)
    assert user.managers_asked() == ""


@pytest.mark.node
def test_a_host_that_is_left_to_itself_is_seen_to_call(user):
    """What keeps Claude Code from it is a setting of ours; the day it is not needed, this fails."""
    ran = run(user, ["claude", "plugin", "list"])

    assert ran.packets > 0
