# SPDX-License-Identifier: Apache-2.0
"""A VPS and a laptop with nothing but agentbus, by the lines that README has for them.

The whole way of a new user: a server, an invitation, a task that goes over, wakes and comes back;
then a network as laptops have it. Both are network namespaces of this machine.
"""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from local_server import script, until
from machines import network

from mcp_agentbus.shared import authority
from mcp_agentbus.shared.membership import invitation
from mcp_agentbus.shared.membership.invitation import decode
from mcp_agentbus.shared.server_files import Files

# What a person would wait for a task there and back, at most, in seconds.
_BACK_S = 20
_RELOADED = "Reloaded server configuration"


@pytest.mark.promise(57)
def test_a_task_goes_over_wakes_comes_back_and_goes_on_after_the_link_was_away(
    tmp_path, monkeypatch
):
    with network("vps", "laptop", homes=tmp_path) as (vps, laptop):
        server = _serve(vps)
        code, said = vps.typed("join", "--json", said=_invited(vps, "vps"))
        joined = json.loads(said)
        assert (code, joined["account"], joined["self_test"]["ok"]) == (0, "vps", True), said
        _worker(vps)
        line = _invited(vps, "laptop")
        code, said = laptop.typed("join", said=line)
        assert code == 0, said
        assert "You are the account laptop of" in said
        assert "The task came through, and its result came back." in said
        secrets = decode(line)
        assert not any(each in said for each in (secrets.secret, secrets.lobby_seed))

        _goes_over(laptop, "shop")
        # No further invitation for a folder.
        _goes_over(laptop, "blog")
        code, said = vps.typed("agents", "--json")
        assert '"account": "laptop"' in said

        _by_another_name(vps, laptop)
        _too_late(vps, laptop, server, monkeypatch)

        _is_kept(laptop, laptop.cut())
        _is_kept(laptop, laptop.unanswered_by(vps))
        with laptop.slow("64kbit"):
            _goes_over(laptop, "shop")

        shown = vps.logs() + laptop.logs() + vps.processes() + laptop.processes()
        assert "agentbus" in laptop.processes()
        for each in (secrets.secret, secrets.lobby_seed, _key_of(laptop), _key_of(vps)):
            assert each not in shown
            assert each not in (laptop.home / ".config/agentbus/config.toml").read_text()

        line_of_pi = decode(_invited(vps, "pi"))
        with laptop.far(0.15, 0.025):
            _gets_there(laptop, line_of_pi)
        code, said = vps.typed("server", "accounts")
        assert re.search(r"^pi: joined", said, re.MULTILINE), said

        code, said = laptop.typed("leave", "--yes", "--json")
        assert (code, json.loads(said)["told"]) == (0, True), said
        code, said = vps.typed("server", "accounts")
        assert re.search(r"^laptop: removed", said, re.MULTILINE), said


def _serve(vps):
    """Make the server and run what its units run; systemd is not there."""
    code, said = vps.typed("server", "init", "--shared", "--name", vps.address)
    assert code == 0, said
    folder = vps.home / ".local/share/agentbus/shared"
    running = []
    for unit in ("agentbus-server.service", "agentbus-gate.service"):
        assert str(folder / unit) in said
        [command] = re.findall(r"^ExecStart=(.+)$", (folder / unit).read_text(), re.MULTILINE)
        running.append(vps.started("sh", "-c", f"exec {command}"))
    until(lambda: "answers" in vps.logs(), "the gate answers")
    return running[0]


def _invited(vps, name):
    code, said = vps.typed("server", "invite", name)
    assert code == 0, said
    [line] = re.findall(r"^agentbus-join-\S+$", said, re.MULTILINE)
    return line


def _worker(vps):
    """Set up an agent that a task of the laptop's starts, and a listener that starts it."""
    program = script(
        vps.home / "build",
        "cat >/dev/null",
        'agentbus inbox --json | grep -o \'"task_id": *"[^"]*\' | cut -d\'"\' -f4 | sort -u |',
        'while read -r id; do agentbus result "$id" completed --summary "built on the VPS"; done',
    )
    where = vps.home / "site"
    where.mkdir()
    added = vps.typed("agent", "add", "builder", "--host", "command", "--dir", str(where),
                      "--wake", "work", "--wake-from", "*", "--", str(program))  # fmt: skip
    assert added[0] == 0, added
    vps.started("agentbus", "listen")
    until(lambda: vps.typed("listen", "--status")[0] == 0, "the listener runs")


def _goes_over(laptop, folder):
    """Have a task go from a folder of the laptop to the VPS, start an agent there, and come back."""
    code, said = laptop.typed("send", "builder", "Build it", "All of it.", "--priority", "high",
                              "--wait", f"{_BACK_S}s", folder=folder)  # fmt: skip
    assert (code, "built on the VPS" in said) == (0, True), said


def _is_kept(laptop, away):
    """See that what is sent while the bus is out of reach waits here, and is done once it is back.

    The test of doctor has started a listener, as a session would. The link is away for seconds.
    """
    with away:
        began = time.monotonic()
        code, said = laptop.typed("send", "builder", "Later", "x", "--json", "--priority", "high",
                                  folder="shop")  # fmt: skip
        assert time.monotonic() - began < 10, said
        [receipt] = json.loads(said)["receipts"]
        assert (code, receipt["state"]) == (0, "stored_here")
    code, said = laptop.typed("watch", "--task", receipt["task_id"], "--timeout", f"{_BACK_S}s",
                              folder="shop")  # fmt: skip
    assert (code, "built on the VPS" in said) == (0, True), said


def _gets_there(laptop, line):
    """See that over a link that is slow and loses some all gets there, if not at the first try."""
    said = []

    def joined():
        said.append(_joins_as_another(laptop, line))
        return said[-1][0] != 3  # what else doctor finds on such a link is no matter here

    until(joined, f"another user has joined: {said}")
    once = ("--json", "--request-id", "far")
    send = ("send", "builder", "From afar", "x", "--priority", "high", *once)

    def sent():
        code, receipt = laptop.typed(*send, folder="shop")
        said.append(receipt)
        return code == 0

    # Where no listener runs any more, one that does not get through says so, and is typed again.
    until(sent, f"it is sent: {said}")
    task_id = json.loads(said[-1])["receipts"][0]["task_id"]
    watch = ("watch", "--task", task_id, "--timeout", f"{_BACK_S}s")
    until(lambda: "built on the VPS" in laptop.typed(*watch, folder="shop")[1], "it comes back")


def _key_of(laptop):
    [file] = (laptop.home / ".config/agentbus/joined").glob("*.nk")
    return file.read_text().strip()


def _by_another_name(vps, laptop):
    """See that a line whose server is reached by a name that its certificate lacks is refused."""
    line = decode(_invited(vps, "other"))
    vps.ran("ip", "addr", "add", "10.231.7.99/24", "dev", vps.link)
    url = line.urls[0].replace(vps.address, "10.231.7.99")
    code, said = _joins_as_another(laptop, replace(line, urls=(url,)))
    assert (code, "is for another name" in said) == (3, True), said


def _too_late(vps, laptop, server, monkeypatch):
    """See that a certificate which has expired is told of, and nothing is told to its server."""
    files = Files(vps.home / ".local/share/agentbus/shared")
    valid, line = files.cert.read_bytes(), decode(_invited(vps, "late"))
    signer = (files.ca.read_bytes(), files.ca_key.read_bytes(), files.key.read_bytes())
    monkeypatch.setattr(authority, "_SERVER_LASTS", timedelta(minutes=-1))
    _shows(vps, server, files, authority.issue(*signer, [vps.address]))
    code, said = _joins_as_another(laptop, line)
    assert (code, "has expired" in said) == (3, True), said
    _shows(vps, server, files, valid)


def _shows(vps, server, files, certificate):
    """Have the server show a certificate from now on."""
    count = vps.logs().count(_RELOADED)
    files.cert.write_bytes(certificate)
    server.send_signal(signal.SIGHUP)
    until(lambda: vps.logs().count(_RELOADED) > count, "the server shows its certificate")


def _joins_as_another(laptop, line):
    """Join as another user of the laptop; return the exit code and what was said."""
    laptop.environ["AGENTBUS_HOME"] = str(laptop.home / "another user")
    try:
        return laptop.typed("join", "--json", said=invitation.encode(line))
    finally:
        del laptop.environ["AGENTBUS_HOME"]
