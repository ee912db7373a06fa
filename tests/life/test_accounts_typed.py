# SPDX-License-Identifier: Apache-2.0
"""The accounts of a shared server, as its owner types: with a gate as it is kept, and real lines."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import forking
import pytest
from made_server import MadeServer
from test_shell import Shell

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import LOBBY
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared.accounts.lobby import asked_for
from mcp_agentbus.shared.membership.invitation import decode

_LINE = re.compile(r"agentbus-join-1-[\w-]+\n")


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path / "here", tmp_path)


@pytest.fixture
def server(tmp_path, shell):
    made = MadeServer(tmp_path / "here" / "data" / "shared")
    try:
        made.start()
        yield made
    finally:
        made.kill()


@contextlib.contextmanager
def gate(shell, server):
    """Run the gate, as its unit does; give what it prints at last."""
    out = []
    process = forking.start(
        [sys.executable, "-m", "mcp_agentbus", "server", "gate"],
        env=shell.env, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        out.append(process.stdout.readline())
        assert out == [f"the gate of {server.files.folder} answers\n"]
        out.append(_seen_of(process.pid))
        yield out
    finally:
        process.terminate()
        out.append(process.stdout.read())
        process.stdout.close()
        assert process.wait(20) == 0


def _seen_of(pid):
    """Return what others may see of a process: how it was started, and with which variables."""
    about = Path("/proc", str(pid))
    files = (about / "cmdline", about / "environ")
    return "".join(file.read_bytes().decode(errors="replace") for file in files if file.exists())


async def joined(server, line, tmp_path):
    """Join by a line; return the settings of who did."""
    said = decode(line)
    file = tmp_path / f"{said.id}.nk"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(new_seed())
    key = Nkey(file.read_text())
    proof = key.signed(asked_for(said.id, key.public)).decode()
    request = {"v": 1, "id": said.id, "secret": said.secret, "key": key.public, "proof": proof}
    environ = {**server.owner.environ, "AGENTBUS_NKEY_FILE": str(server.files.lobby)}
    async with Bus.connect(load_settings(environ)) as outside:
        answer = await outside.request(LOBBY, json.dumps(request).encode(), 10)
    assert json.loads(answer.data) == {"ok": True, "account": said.name}
    home = tmp_path / f"home-{said.id}"
    return server.account(home, said.name, file)


def invited(shell, *arguments):
    """Print an invitation; return the line, which is alone on standard output, and what it is."""
    process = shell.start("server", "invite", *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert _LINE.fullmatch(out)
    return out, err


async def test_an_account_from_its_invitation_to_its_end(shell, server, tmp_path):
    with gate(shell, server) as said:
        line, about = invited(shell, "laptop", "--role", "review", "--expires", "10m")
        waiting = shell("server", "accounts")
        laptop = await joined(server, line, tmp_path)
        async with Bus.connect(laptop) as bus:
            info = await bus.api("STREAM.INFO.AGENTBUS_TASKS")
            listed = shell.json("server", "accounts", "laptop", "--no-role", "review")
            shell("server", "accounts", "laptop", "--role", "ops")
            as_text = shell("server", "accounts")
            refused = shell("server", "invite", "laptop", code=1)
            unsure = shell("server", "remove", "laptop", code=2)
            removed = shell.json("server", "remove", "laptop", "--give-back", "--yes")
        after = shell("server", "accounts")
        invited(shell, "pi")
        revoked = shell("server", "accounts", "pi", "--revoke")
        nobody = shell("server", "accounts", "nas", "--readmit", code=2)

    assert "the account laptop with the roles review: good until" in about
    assert "gate" not in about
    assert "laptop: invited, good until" in waiting
    assert info["config"]["name"] == "AGENTBUS_TASKS"
    [account] = listed["accounts"]
    assert (account["state"], account["connections"], account["roles"]) == ("joined", 1, [])
    assert "roles ops; 1 connection" in as_text
    assert "rotate laptop" in refused
    assert "--yes" in unsure
    assert removed == {"removed": "laptop", "given_back": 0, "offered": 0, "still_in": []}
    assert "laptop: removed since" in after
    assert "nobody joins" in revoked
    assert "no account nas" in nobody
    secrets = [file.read_text() for file in server.files.keys] + [decode(line).secret]
    everything = "".join([*said, about, waiting, as_text, str(listed), after, server.log])
    assert not any(secret in everything for secret in secrets)


async def test_a_gate_outlives_its_server_and_goes_on_with_the_next(shell, server, tmp_path):
    with gate(shell, server):
        laptop = await joined(server, invited(shell, "laptop")[0], tmp_path)
        server.kill()
        server.start()

        async def asked(settings):
            async with Bus(settings) as bus:
                return await bus.api("STREAM.INFO.AGENTBUS_TASKS")

        async def again(ask, *arguments):
            while True:
                with contextlib.suppress(AgentbusError):
                    return await ask(*arguments)

        before = await again(asked, laptop)
        line, _ = invited(shell, "pi")
        later = await asked(await again(joined, server, line, tmp_path))

    assert before["config"]["name"] == later["config"]["name"] == "AGENTBUS_TASKS"


def test_who_leaves_is_removed_and_what_waits_for_it_is_given_back(shell, server, tmp_path):
    with gate(shell, server):
        machines = {}
        for name in ("laptop", "pi"):
            (tmp_path / name).mkdir()
            there = machines[name] = Shell(tmp_path / name / "bus", tmp_path / name)
            line, _ = invited(shell, name)
            there("join", "--json", stdin=line)
        laptop, pi = machines["laptop"], machines["pi"]
        laptop("inbox", agent="coder")
        sent = pi.json("send", laptop.name("coder"), "Count", "all", agent="planner")
        left = laptop("leave", "--give-back", "--yes")
        told = pi("inbox", agent="planner")
        listed = shell.json("server", "accounts")

    states = {each["name"]: each["state"] for each in listed["accounts"]}
    assert sent["receipts"][0]["task_id"]
    assert "laptop" in left
    assert "the account laptop, whose agent it was for, was removed" in told
    assert states == {"laptop": "removed", "pi": "joined"}


def test_without_its_gate_an_invitation_says_that_nobody_can_use_it(shell, server):
    _, about = invited(shell, "laptop")
    listed = shell.json("server", "accounts")

    assert "gate does not answer" in about
    assert not listed["gate"]


def test_a_gate_that_cannot_read_its_keys_says_so_and_ends(shell, server):
    server.files.system.write_text("nothing")

    assert "system.nk holds no seed" in shell("server", "gate", code=1)


def test_without_its_server_it_is_said_where_the_server_is(shell, tmp_path):
    none = shell("server", "accounts", code=2)
    shell("server", "init", "--shared", "--listen", "127.0.0.1:1")
    away = shell("server", "invite", "laptop", code=3)

    assert "no shared server in" in none
    assert "127.0.0.1:1" in away
