# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor --self-test`: a task's way over a real bus, and where it stops."""

import asyncio
import json
import os
import shlex
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace

import forking
import pytest
import served
from doctors import listener_goes, sent_round
from halting import halt
from listeners import configure, false_listener, listening
from local_server import script

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import check, self_test
from mcp_agentbus.doctor.run import run
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster, streams, subjects

_WITHIN_S = 90  # only a hang takes as long
# A coder that was woken: it completes whatever waits.
_CODER = """\
import json, os, subprocess, sys
sys.stdin.read()
bus = [sys.executable, "-m", "mcp_agentbus"]
env = {**os.environ, "PYTHONPATH": sys.argv[1]}
said = subprocess.run([*bus, "inbox", "--json"], env=env, capture_output=True, check=True).stdout
for task in json.loads(said)["tasks"]:
    argv = [*bus, "result", task["task_id"], "completed", "--summary", "ok"]
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
"""


@pytest.fixture
def alone(there):
    """A server of one's own, whose user wants no listener."""
    return replace(there, environ={**there.environ, "AGENTBUS_LISTENER": "off"})


async def left_of(settings):
    """Return what doctors have left on a server: agents, subjects and consumers."""
    async with Bus.connect(settings) as bus:
        found = [entry.id for entry in await roster.everybody(bus)]
        # Signs of life go by themselves; a listener may give the last one after the end.
        for stream in {*streams.STREAMS} - {subjects.PRESENCE}:
            info = await bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
            found += info["state"].get("subjects") or {}
            found += (await bus.api(f"CONSUMER.NAMES.{stream}")).get("consumers") or []
    return [one for one in found if "doctor-" in one]


async def test_a_task_comes_through_and_leaves_nothing(there, tmp_path):
    configure(there, tmp_path)
    rung = tmp_path / "rung"
    with there.config_file.open("a") as file:
        file.write(f"[human]\ncommand = {json.dumps(['/bin/sh', '-c', f'cat > {rung}'])}\n")
    there = load_settings(there.environ)
    async with listening(there):
        code, stages = await sent_round(there)

    assert code == 0
    assert rung.read_text() == "This is a test: so you are told what needs you.\n"
    assert list(stages) == [
        "server", "register", "listener", "send", "stored", "heard", "claim", "result", "seen",
        "wake", "cleanup", "human",
    ]  # fmt: skip
    assert [name for name, one in stages.items() if one["state"] != "ok"] == ["wake"]
    assert "agentbus agent add" in stages["wake"]["fix"]
    assert await left_of(there) == []


async def test_one_who_would_be_told_nothing_hears_of_it(alone):
    alone.config_file.write_text('[human]\ncommand = ["/bin/false"]\n')
    alone.config_file.chmod(0o600)

    code, stages = await sent_round(replace(load_settings(alone.environ), environ=alone.environ))

    assert code == 1
    assert [name for name, one in stages.items() if one["state"] == "failed"] == ["human"]
    assert stages["human"]["said"] == "/bin/false ended with exit code 1."
    assert "[human]" in stages["human"]["fix"]


async def test_where_no_listener_runs_it_starts_one_as_a_session_does(there):
    with listener_goes(there):
        # In a process of its own, which the listener outlives.
        ran = await asyncio.to_thread(
            forking.ran,
            [sys.executable, "-m", "mcp_agentbus", "doctor", "--self-test", "--json"],
            _WITHIN_S, env=dict(there.environ),
        )  # fmt: skip
        stages = {one["name"]: one for one in json.loads(ran.stdout)["stages"]}

    assert ran.returncode == 0
    assert "was started, as by a session" in stages["listener"]["said"]
    assert "wake requested" in stages["send"]["said"]
    assert stages["heard"]["state"] == "ok"
    assert await left_of(there) == []


async def test_without_a_listener_a_task_comes_through_and_no_wake_was_tested(alone):
    code, stages = await sent_round(alone)

    assert code == 0
    assert {name for name, one in stages.items() if one["state"] != "ok"} == {"listener", "wake"}
    assert stages["listener"]["state"] == "skipped"
    assert await left_of(alone) == []


async def test_a_self_test_says_that_the_server_does_not_run_and_starts_none(there):
    embedded.stop(there)
    code, stages = await sent_round(there)

    assert code == 1
    assert list(stages) == ["server"]
    assert "not running" in stages["server"]["said"]
    assert "agentbus server start" in stages["server"]["fix"]
    assert embedded.find(there) is None


async def test_a_self_test_refuses_a_configuration_that_it_cannot_read(there):
    there.config_file.write_text("no_such_key = 1\n")
    there.config_file.chmod(0o600)

    with pytest.raises(BadSetup, match="no_such_key"):
        await sent_round(there)


async def test_a_listener_that_tells_nobody_is_found_out(there, monkeypatch):
    monkeypatch.setattr(check, "STAGE_S", 1.0)
    with false_listener(there, b'{"joined":"x"}\n'):
        code, stages = await sent_round(there)

    assert code == 1
    assert stages["heard"]["state"] == "failed"
    assert "does not stir it" in stages["heard"]["fix"]
    assert stages["seen"]["state"] == "ok"


async def test_a_self_test_says_where_it_stopped(alone, monkeypatch):
    monkeypatch.setattr(check, "STAGE_S", 2.0)
    pid = embedded.find(alone).pid
    lines = []

    def out(line):
        lines.append(line)
        if line.startswith("ok  stored"):
            halt(pid)

    try:
        code = await run(alone, out, self_test=True)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert code == 1
    assert any(line.startswith("!!  claim") for line in lines)
    assert not any(line.startswith("ok  result") for line in lines)
    assert lines[-1] == "Failed: claim, cleanup."


async def test_a_fault_of_a_stage_is_a_failed_stage_and_is_cleaned_up(alone, monkeypatch):
    def fails(*_, **__):
        raise ValueError("canary")

    monkeypatch.setattr(self_test.inbox, "read_inbox", fails)

    code, stages = await sent_round(alone)

    assert code == 1
    assert stages["claim"]["said"] == "it failed with ValueError"
    assert stages["cleanup"]["state"] == "ok"
    assert await left_of(alone) == []


@asynccontextmanager
async def woken(settings, folder, **keys):
    """Run a listener that can start a coder."""
    file = folder / "coder.py"
    file.write_text(_CODER)
    command = [sys.executable, str(file), served.PACKAGE]
    configure(settings, folder, coder={"command": command, **keys})
    async with listening(settings) as listener, Bus.connect(settings) as bus:
        await streams.ensure_streams(bus)
        await roster.register(bus, Agent("coder"), None)
        await listener.logged("ready")
        yield bus


async def test_an_agent_that_is_named_is_really_started(there, tmp_path):
    async with woken(there, tmp_path):
        code, stages = await sent_round(there, wake="coder")

    assert code == 0, stages
    assert list(stages) == [
        "server", "register", "listener", "send", "wake", "claim", "result", "ended", "seen",
        "cleanup",
    ]  # fmt: skip
    assert "starts command, profile work" in stages["wake"]["said"]
    assert await left_of(there) == []


async def test_an_agent_that_is_never_started_is_not_tested(there, tmp_path):
    async with woken(there, tmp_path, wake="hold"):
        code, stages = await sent_round(there, wake="coder")

    assert code == 1
    assert stages["listener"]["state"] == "failed"
    assert "send" not in stages
    assert "withdrawn" not in stages["cleanup"]["said"]
    assert await left_of(there) == []


async def test_a_start_that_fails_is_said_and_its_task_is_withdrawn(there, tmp_path):
    async with woken(there, tmp_path, command=["/no/such/program"]) as bus:
        code, stages = await sent_round(there, wake="coder")
        async with Session(bus, Agent("coder")) as session:
            await session.called()
            await session.can_read()
            found = await read_inbox(session)

    assert code == 1
    assert "agentbus agent wakes coder" in "".join(one["fix"] for one in stages.values())
    assert found.tasks == ()
    assert [one for one in await left_of(there) if one.endswith("profile")] == []


async def test_a_host_is_started_with_the_login_of_this_terminal_whoever_started_the_listener(
    there, tmp_path
):
    (tmp_path / "coder.py").write_text(_CODER)
    coder = shlex.join([sys.executable, str(tmp_path / "coder.py"), served.PACKAGE])
    script(
        tmp_path / "claude", "test $ANTHROPIC_API_KEY || exit 1", f"AGENTBUS_AGENT=coder {coder}"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    (tmp_path / "shop").mkdir()
    configure(there, tmp_path / "shop", coder={"host": "claude-code", "wake": "answer"})
    login = {"PATH": path, "ANTHROPIC_API_KEY": "zq9secret", "AGENTBUS_LISTENER": ""}
    terminal = replace(there, environ={**there.environ, **login})

    with listener_goes(terminal):
        async with listening(there, PATH=path) as listener:
            await listener.logged("ready")
            words = ("doctor", "--self-test", "--wake", "coder")
            code, said = await served.typed(there.data_dir.parent, *words, **login)

    assert code == 0, said
    assert "anew, as it lacked ANTHROPIC_API_KEY, and" in said
    assert said.endswith("its result came back.\n")
    assert "zq9secret" not in said


async def test_a_self_test_comes_through_a_shared_server(shared, tmp_path):
    async with listening(
        shared,
        AGENTBUS_URL=shared.environ["AGENTBUS_URL"],
        AGENTBUS_TOKEN_FILE=shared.environ["AGENTBUS_TOKEN_FILE"],
    ):
        code, stages = await sent_round(shared)

    assert code == 0
    assert stages["heard"]["state"] == "ok"
    assert subjects.TASKS in stages["stored"]["said"]
