# SPDX-License-Identifier: Apache-2.0
"""Both real hosts set up, and agentbus taken out again: no trace is left, and nobody was contacted."""

import json
import shlex
import stat
import sys
from types import SimpleNamespace

import enclosed
import node_tools
import pytest
from local_server import script, server_folder, settings_at
from mcp_agentbus.installers import assets, openclaw
from mcp_agentbus.installers._parts import folder
from mcp_agentbus.installers.steps import Machine
from openclaw_user import entry, on_path

AGENTBUS = [sys.executable, "-m", "mcp_agentbus"]
HOSTS = ("claude-code", "openclaw")
PORT = 28789  # nothing is started there
USERS = {
    "gateway": {
        "mode": "local",
        "port": PORT,
        "bind": "loopback",
        "auth": {"mode": "token", "token": "gateway-secret-1"},
    },
    "mcp": {"servers": {"mine": {"command": "/bin/true", "args": ["a b"]}}},
}
# What OpenClaw adds to a file that it writes.
META = {
    "migrations": {"modelPolicyAllowlist": True, "utilityModelSeparation": True},
    "lastTouchedVersion": node_tools.OPENCLAW["openclaw"],
}


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Somebody with both hosts, who has used neither, and with no service manager that works."""
    place = tmp_path_factory.mktemp("user")
    bin_ = place / "bin"
    bin_.mkdir()
    (bin_ / "claude").symlink_to(node_tools.claude_code())
    script(bin_ / "python3", f'exec {shlex.quote(sys.executable)} "$@"')
    asked = place / "asked"
    asked.touch()
    for manager in ("systemctl", "launchctl", "loginctl"):
        script(bin_ / manager, f"echo {manager} >> {shlex.quote(str(asked))}", "exit 1")
    home = place / "home"
    home.mkdir()
    environ = {
        "HOME": str(home),
        "PATH": on_path(bin_, place / "arguments"),
        "TERM": "xterm",
    }
    with server_folder(place / "bus", **environ) as settings:
        yield SimpleNamespace(
            machine=Machine(settings),
            environ=dict(settings.environ),
            place=place,
            home=home,
            config=home / ".openclaw" / "openclaw.json",
            skill=home / ".openclaw" / "skills" / "using-agentbus",
            token=place / "bus" / "openclaw-hooks.token",
            arguments=(place / "arguments").read_text,
            managers_asked=asked.read_text,
        )


def run(user, *commands, anyway=False):
    """Run commands one after the other, as typed, in one network."""
    lines = "\n".join(map(shlex.join, commands))
    return enclosed.run(["/bin/sh", "-ec", lines], env=user.environ, anyway=anyway)


@pytest.fixture(scope="module")
def done(user):
    """Both hosts set up and that undone, for somebody with settings of their own in OpenClaw.

    The user has both again as they were in between; `undone` is what was there after it.
    """
    user.config.parent.mkdir()
    before = json.dumps({**USERS, "meta": META}, indent=2).encode() + b"\n"
    user.config.write_bytes(before)
    connected, undone = user.place / "connected", user.place / "undone"
    hosts = [word for host in HOSTS for word in ("--host", host)]
    ran = run(
        user,
        [*AGENTBUS, "setup", "--yes", "--no-listener", *hosts],
        ["cp", "-a", str(user.home), str(connected)],
        ["cp", "-a", str(user.token), str(user.place / "token")],
        [*AGENTBUS, "uninstall", *HOSTS],
        [*AGENTBUS, "server", "stop"],
        anyway=True,
    )
    assert ran.code == 0, ran.said
    assert not user.token.exists()
    user.home.rename(undone)
    connected.rename(user.home)
    (user.place / "token").rename(user.token)
    return SimpleNamespace(ran=ran, before=before, undone=undone)


def files(place):
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_whoever_is_asked_for_a_name_or_sent_anything_is_seen():
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
def test_both_hosts_are_set_up_and_it_is_undone_and_nobody_is_contacted(user, done):
    for host in HOSTS:
        assert f"{host} connected, and asked" in done.ran.said
        assert f"{host} removed" in done.ran.said
    assert user.managers_asked() == ""
    if done.ran.packets is None:
        pytest.skip("it had no network of its own")
    assert (done.ran.left, done.ran.packets) == ([], 0)


@pytest.mark.node
def test_a_host_that_is_left_to_itself_is_seen_to_call(user):
    """What keeps Claude Code from it is a setting of ours; the day it is not needed, this fails."""
    ran = run(user, ["claude", "plugin", "list"])

    assert ran.packets > 0


@pytest.mark.node
def test_openclaw_is_given_an_entry_a_skill_and_a_token_that_no_process_list_shows(user, done):
    token = user.token.read_text().strip()

    document = json.loads(user.config.read_bytes())
    assert document["mcp"]["servers"] == {
        **USERS["mcp"]["servers"],
        "agentbus": entry(user.machine),
    }
    assert document["hooks"] == {"enabled": True, "token": token}
    assert stat.S_IMODE(user.token.stat().st_mode) == 0o600
    # One change as it is set up; two as it is undone, with little else in its file; none refused.
    assert user.arguments().count("config\npatch\n--stdin\n") == 3
    assert not list((done.undone / ".openclaw").glob("*.rejected*"))
    assert token not in user.arguments()
    assert set(files(user.skill)) == {*files(assets.skill_folder()), folder.LIST}
    assert openclaw.gateway(user.machine) == {
        "gateway_url": f"http://127.0.0.1:{PORT}", "token_file": str(user.token)
    }  # fmt: skip
    assert "as agent openclaw and lists its 5 tools" in done.ran.said
    assert "agentbus agent add openclaw --host openclaw --wake work" in done.ran.said


@pytest.mark.node
def test_openclaw_connected_twice_is_as_it_was_by_the_first_time(user, done):
    before, token = files(user.home), user.token.read_bytes()

    told = [step.do() for step in openclaw.install(user.machine)]

    assert told[:2] == ["it is there already", "it is there already"]
    assert told[-1].endswith("agentbus agent add openclaw --host openclaw --wake work")
    assert (files(user.home), user.token.read_bytes()) == (before, token)


@pytest.mark.node
def test_of_all_that_openclaw_was_given_nothing_is_left(user, done, tmp_path):
    state = done.undone / ".openclaw"

    assert (state / "openclaw.json").read_bytes() == done.before
    assert not (state / "skills").exists()
    gone = settings_at(tmp_path, HOME=str(done.undone), PATH=user.environ["PATH"])
    assert openclaw.uninstall(Machine(gone)) == []
